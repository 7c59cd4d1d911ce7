//! The output of `leakgate profile`.

use std::fmt::Write;

use super::sites::{site_headline, stack_lines};
use super::text::{sanitize, wrap_words};
use leakgate_judge::attribution::profile::Profile;

const WIDTH: usize = 98;

/// The blind spots of a profile.
const BLIND: &str = "Not seen by dhat: memory from mmap or C code, child processes, and anything released before a window \
                     ends.";

/// The sites, the fastest first, `top` of them at most, and what they rest on.
#[must_use]
pub fn render(profile: &Profile, top: usize) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_profile(&mut out, profile, top);
    out
}

fn write_profile(out: &mut String, profile: &Profile, top: usize) -> std::fmt::Result {
    let windows = &profile.windows;
    let planted = profile.planted.as_ref().map_or(String::new(), |name| format!(", with {name} planted"));
    let sites = match profile.sites.len() {
        0 => "nothing grows".to_owned(),
        1 => "1 site grows".to_owned(),
        number => format!("{number} sites grow"),
    };
    writeln!(out, "{sites}: scenario {} under dhat{planted}", sanitize(&profile.scenario))?;
    for (number, site) in (1..).zip(profile.sites.iter().take(top)) {
        writeln!(out, "\n{number}. {}", sanitize(&site_headline(site)))?;
        for line in stack_lines(site) {
            writeln!(out, "   {}", sanitize(&line))?;
        }
    }
    if profile.sites.len() > top {
        writeln!(out, "\nand {} more: --top shows them, profile.json has all", profile.sites.len() - top)?;
    }
    let rests = format!(
        "Compared: for blocks, windows of {} and {} restarts in one process after a warm-up of {}; for growth without new \
         blocks, two processes profiled over {} and {} restarts.",
        windows.short, windows.long, windows.warm_up, windows.short_life, windows.long_life
    );
    writeln!(out, "\n{}\n{}", wrap_words(&rests, WIDTH, 0), wrap_words(BLIND, WIDTH, 0))
}
