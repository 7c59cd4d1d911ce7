//! `leakgate report`: a stored run in the formats that people, CIs and dashboards read.

use std::path::{Path, PathBuf};

use crate::commands::{Failure, print};
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::Run;
use leakgate_judge::store;
use leakgate_judge::verdict::{self, Verdict};
use leakgate_report::Format;
use leakgate_report::terminal::{Style, WIDEST};

/// Options of `report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the report is written, whatever its verdict is (`leakgate judge` tells that by its exit code); \
                        2 usage, or no such run; 5 the report cannot be written."
)]
pub struct Args {
    /// The run that was stored by `leakgate run`.
    #[arg(value_name = "RUN.json")]
    run: PathBuf,

    /// A format, or several. Without one: terminal on stdout, or all of them with --out.
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<Format>,

    /// Where to: a folder, a file for a single format, or - for stdout. A single format goes to stdout without it.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// Where a report goes.
#[derive(Debug, PartialEq)]
enum Place {
    Stdout(Format),
    File(Format, PathBuf),
    Folder(Vec<Format>, PathBuf),
}

/// Writes them all.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let place = place(&args.format, args.out.as_deref(), Path::is_dir).map_err(|error| Failure::usage(&error))?;
    let run = store::load(&args.run).map_err(|error| Failure::usage(&error))?;
    let verdict = verdict::judge(&run);
    match place {
        // With colours, where stdout can show them.
        Place::Stdout(Format::Terminal) => {
            print(&leakgate_report::terminal::render(&verdict, &run, Style { width: WIDEST, colour: true }))?;
        }
        Place::Stdout(format) => print(&text(format, &verdict, &run)?)?,
        Place::File(format, path) => write(&path, format, &verdict, &run)?,
        Place::Folder(formats, folder) => {
            let written = write_all(&folder, &formats, &verdict, &run)?;
            print(&format!("Written: {}\n", names(&written)))?;
        }
    }
    Ok(Exit::Pass)
}

/// Writes each format into a folder, under its own name; what was written.
pub(super) fn write_all(
    folder: &Path,
    formats: &[Format],
    verdict: &Verdict,
    run: &Run,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for &format in formats {
        let path = folder.join(format.file_name());
        write(&path, format, verdict, run)?;
        written.push(path);
    }
    Ok(written)
}

/// `a, b and c`.
pub(super) fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    match names.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}

fn write(path: &Path, format: Format, verdict: &Verdict, run: &Run) -> Result<(), Failure> {
    store::save_text(path, &text(format, verdict, run)?).map_err(|error| Failure::harness(&error))
}

fn text(format: Format, verdict: &Verdict, run: &Run) -> Result<String, Failure> {
    leakgate_report::render(format, verdict, run).map_err(|error| Failure::harness(&error))
}

/// What the two options mean together.
fn place(formats: &[Format], out: Option<&Path>, is_folder: impl Fn(&Path) -> bool) -> Result<Place, String> {
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    match (formats.as_slice(), out) {
        ([], None) => Ok(Place::Stdout(Format::Terminal)),
        ([format], None) => Ok(Place::Stdout(*format)),
        ([] | [_], Some(out)) if out == Path::new("-") => {
            Ok(Place::Stdout(formats.first().copied().unwrap_or(Format::Terminal)))
        }
        ([], Some(out)) => Ok(Place::Folder(<Format as clap::ValueEnum>::value_variants().to_vec(), out.to_owned())),
        ([format], Some(out)) if !is_folder(out) && !ends_in_slash(out) => Ok(Place::File(*format, out.to_owned())),
        (_, Some(out)) if out != Path::new("-") => Ok(Place::Folder(formats, out.to_owned())),
        _ => Err(format!(
            "{} formats do not go into one stream: name a folder with --out, or one --format",
            formats.len()
        )),
    }
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(formats: &[Format], out: Option<&str>) -> Result<Place, String> {
        place(formats, out.map(Path::new), |path| path == Path::new("folder"))
    }

    #[test]
    fn one_format_goes_to_stdout_or_a_file_and_several_into_a_folder() {
        use Format::{Html, Junit, Terminal};
        assert_eq!(placed(&[], None), Ok(Place::Stdout(Terminal)));
        assert_eq!(placed(&[Html], None), Ok(Place::Stdout(Html)));
        assert_eq!(placed(&[Html], Some("-")), Ok(Place::Stdout(Html)));
        assert_eq!(placed(&[Html], Some("a.html")), Ok(Place::File(Html, "a.html".into())));
        assert_eq!(placed(&[Html], Some("folder")), Ok(Place::Folder(vec![Html], "folder".into())));
        assert_eq!(placed(&[Html], Some("new/")), Ok(Place::Folder(vec![Html], "new/".into())));
        assert_eq!(placed(&[Junit, Html, Html], Some("new")), Ok(Place::Folder(vec![Html, Junit], "new".into())));
        assert!(matches!(placed(&[], Some("new")), Ok(Place::Folder(all, _)) if all.len() == 8));
    }

    #[test]
    fn several_formats_in_one_stream_are_refused() {
        assert!(placed(&[Format::Html, Format::Junit], None).unwrap_err().contains("--out"));
        assert!(placed(&[Format::Html, Format::Junit], Some("-")).unwrap_err().contains("--out"));
    }
}
