//! The table as Markdown, which is readable on a terminal as well.

use super::interval::Interval;
use super::table::{Bound, Calibration, Clean, Leak, MIN_CLEAN_RUNS, Rate, SAFETY_FACTOR};
use leakgate_judge::verdict::words::format_bytes;

/// The whole table.
#[must_use]
pub fn render_markdown(power: &Calibration) -> String {
    let mut text = String::from("# What this gate catches, and how often it cries wolf\n\n");
    text += &source_line(power);
    text += "\n\n";
    text += "Each trial is a fresh process of the server under scenario `restarts`, or under each in turn where \
             a row says so. *Caught* means that a metric in which the leak shows was called LEAK; where it strikes \
             seldom, its first strike is spread evenly over the trials. *Measured again*: a run of this length could \
             not tell, and one of two or four times the restarts was asked. Intervals are exact (Clopper and Pearson), 95 %.\n\n";
    text += "| leak | restarts | caught | that is | measured again | not caught |\n\
             | --- | ---: | ---: | --- | ---: | --- |\n";
    for leak in &power.leaks {
        text += &leak_row(leak);
    }
    text += "\n| nothing planted | restarts | called a leak | that is | measured again | not conclusive | invalid |\n\
             | --- | ---: | ---: | --- | ---: | ---: | ---: |\n";
    for clean in &power.clean {
        text += &clean_row(clean);
    }
    text += &["| all | | ", &rate_cells(power.false_alarms), " | | | |\n"].concat();
    for clean in &power.clean {
        text.extend(clean.oddities.iter().map(|oddity| format!("\n- {}, {oddity}\n", clean.case)));
    }
    if !power.bounds.is_empty() {
        text += &bounds_head();

        for bound in &power.bounds {
            text += &bound_row(bound);
        }
    }
    text
}

fn bounds_head() -> String {
    format!(
        "\nThe bound on a rise of anonymous memory that lasts, from the runs with nothing planted: {SAFETY_FACTOR} times the largest \
         that one of at least {MIN_CLEAN_RUNS} showed. Above *twice* it is a leak where a second run, of twice the \
         restarts, shows it as well; above *at once* it is one without that, which must not be below {SAFETY_FACTOR} times the \
         largest rise.\n\n\
         | from restarts | runs | largest rise | {SAFETY_FACTOR} times that | twice | at once |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
}

fn source_line(power: &Calibration) -> String {
    let environment = &power.environment;
    format!(
        "`leakgate power`, commit {}, {}, {}.",
        if power.commits.is_empty() { "unknown".to_owned() } else { power.commits.join(", ") },
        environment.rustc,
        environment.kernel
    )
}

fn leak_row(leak: &Leak) -> String {
    let missed = leak.caught.of - leak.caught.seen;
    let mut how = Vec::new();
    let passed = missed.saturating_sub(leak.not_conclusive + leak.invalid);
    for (count, what) in [(passed, "passed"), (leak.not_conclusive, "not conclusive"), (leak.invalid, "invalid")] {
        if count > 0 {
            how.push(format!("{count} {what}"));
        }
    }
    let promise = match leak.promised {
        None => " (nothing is promised)",
        Some(_) => "",
    };
    format!(
        "| {}{promise} | {} | {} | {} | {} |\n",
        leak.leak,
        leak.restarts,
        rate_cells(leak.caught),
        leak.again,
        how.join(", ")
    )
}

fn clean_row(clean: &Clean) -> String {
    let scenarios = match &clean.scenarios[..] {
        [] | [_] => String::new(),
        several => [" (", &several.join(", "), ")"].concat(),
    };
    format!(
        "| on {}{scenarios} | {} | {} | {} | {} | {} |\n",
        clean.target,
        clean.restarts,
        rate_cells(clean.alarms),
        clean.again,
        clean.not_conclusive,
        clean.invalid
    )
}

fn bound_row(bound: &Bound) -> String {
    let calibrated = bound.calibrated.map_or_else(|| "too few runs".to_owned(), format_bytes);
    format!(
        "| {} | {} | {} | {calibrated} | {} | {} |\n",
        bound.restarts,
        bound.runs,
        format_bytes(bound.largest_rise),
        format_bytes(bound.twice),
        format_bytes(bound.once)
    )
}

fn rate_cells(rate: Rate) -> String {
    format!("{} of {} | {}", rate.seen, rate.of, interval_percent(rate.interval))
}

fn interval_percent(Interval { low, high }: Interval) -> String {
    format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high)
}
