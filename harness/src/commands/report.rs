//! `leakgate report`: a stored run in the formats that people, CIs and dashboards read.

use std::path::{Path, PathBuf};

use crate::commands::{Failure, print};
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::Run;
use leakgate_judge::store;
use leakgate_judge::verdict::{self, Verdict};
use leakgate_report::Format;
use leakgate_report::terminal::{MAX_WIDTH, Style};

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
enum Output {
    Stdout(Format),
    File(Format, PathBuf),
    Folder(Vec<Format>, PathBuf),
}

/// Writes them all.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let place =
        resolve_output(&args.format, args.out.as_deref(), Path::is_dir).map_err(|error| Failure::usage(&error))?;
    let run = store::load(&args.run).map_err(|error| Failure::usage(&error))?;
    let verdict = verdict::judge(&run);
    match place {
        // With colours, where stdout can show them.
        Output::Stdout(Format::Terminal) => {
            print(&leakgate_report::terminal::render(&verdict, &run, Style { width: MAX_WIDTH, colour: true }))?;
        }
        Output::Stdout(format) => print(&render_report(format, &verdict, &run)?)?,
        Output::File(format, path) => write_report(&path, format, &verdict, &run)?,
        Output::Folder(formats, folder) => {
            let written = write_reports(&folder, &formats, &verdict, &run)?;
            print(&format!("Written: {}\n", join_names(&written)))?;
        }
    }
    Ok(Exit::Pass)
}

/// Writes each format into a folder, under its own name; what was written.
pub(super) fn write_reports(
    folder: &Path,
    formats: &[Format],
    verdict: &Verdict,
    run: &Run,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for &format in formats {
        let path = folder.join(format.file_name());
        write_report(&path, format, verdict, run)?;
        written.push(path);
    }
    Ok(written)
}

/// `a, b and c`.
pub(super) fn join_names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    match names.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}

fn write_report(path: &Path, format: Format, verdict: &Verdict, run: &Run) -> Result<(), Failure> {
    store::save_text(path, &render_report(format, verdict, run)?).map_err(|error| Failure::harness(&error))
}

fn render_report(format: Format, verdict: &Verdict, run: &Run) -> Result<String, Failure> {
    leakgate_report::render(format, verdict, run).map_err(|error| Failure::harness(&error))
}

/// Combines `--format` and `--out` into an output.
fn resolve_output(formats: &[Format], out: Option<&Path>, is_folder: impl Fn(&Path) -> bool) -> Result<Output, String> {
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    match (formats.as_slice(), out) {
        ([], None) => Ok(Output::Stdout(Format::Terminal)),
        ([format], None) => Ok(Output::Stdout(*format)),
        ([] | [_], Some(out)) if out == Path::new("-") => {
            Ok(Output::Stdout(formats.first().copied().unwrap_or(Format::Terminal)))
        }
        ([], Some(out)) => Ok(Output::Folder(<Format as clap::ValueEnum>::value_variants().to_vec(), out.to_owned())),
        ([format], Some(out)) if !is_folder(out) && !ends_in_slash(out) => Ok(Output::File(*format, out.to_owned())),
        (_, Some(out)) if out != Path::new("-") => Ok(Output::Folder(formats, out.to_owned())),
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

    fn resolve(formats: &[Format], out: Option<&str>) -> Result<Output, String> {
        resolve_output(formats, out.map(Path::new), |path| path == Path::new("folder"))
    }

    #[test]
    fn one_format_goes_to_stdout_or_a_file_and_several_into_a_folder() {
        use Format::{Html, Junit, Terminal};
        assert_eq!(resolve(&[], None), Ok(Output::Stdout(Terminal)));
        assert_eq!(resolve(&[Html], None), Ok(Output::Stdout(Html)));
        assert_eq!(resolve(&[Html], Some("-")), Ok(Output::Stdout(Html)));
        assert_eq!(resolve(&[Html], Some("a.html")), Ok(Output::File(Html, "a.html".into())));
        assert_eq!(resolve(&[Html], Some("folder")), Ok(Output::Folder(vec![Html], "folder".into())));
        assert_eq!(resolve(&[Html], Some("new/")), Ok(Output::Folder(vec![Html], "new/".into())));
        assert_eq!(resolve(&[Junit, Html, Html], Some("new")), Ok(Output::Folder(vec![Html, Junit], "new".into())));
        assert!(matches!(resolve(&[], Some("new")), Ok(Output::Folder(all, _)) if all.len() == 8));
    }

    #[test]
    fn several_formats_in_one_stream_are_refused() {
        assert!(resolve(&[Format::Html, Format::Junit], None).unwrap_err().contains("--out"));
        assert!(resolve(&[Format::Html, Format::Junit], Some("-")).unwrap_err().contains("--out"));
    }
}
