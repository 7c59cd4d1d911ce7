//! The memory of one process, from `/proc/PID/smaps_rollup`.

use std::ops::Add;

use procfs::process::Process;

/// Memory of a process or of several, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Anonymous proportional set size: what the process itself wrote, pages shared by a fork divided among the sharers.
    pub anon_pss: u64,
    /// Resident set size, shared pages included.
    pub rss: u64,
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { anon_pss: self.anon_pss + other.anon_pss, rss: self.rss + other.rss }
    }
}

/// The memory of the process `pid`; none when it is gone or is not ours to read.
#[must_use]
pub fn read_memory(pid: u32) -> Option<Memory> {
    let rollup = Process::new(pid.try_into().ok()?).ok()?.smaps_rollup().ok()?;
    let sizes = &rollup.memory_map_rollup.0.first()?.extension.map;
    // Kernels before 5.4 do not split PSS; private anonymous memory is then the nearest.
    let anon_pss = sizes.get("Pss_Anon").or_else(|| sizes.get("Anonymous"))?;
    Some(Memory { anon_pss: *anon_pss, rss: *sizes.get("Rss")? })
}
