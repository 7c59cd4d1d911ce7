//! Pieces of the page that come more than once.

use maud::{Markup, html};

use leakgate_judge::verdict::Finding;

/// A finding with its sign and its word, so that its colour says nothing alone.
pub(super) fn finding_badge(finding: Finding) -> Markup {
    badge_of(finding, &finding.to_string())
}

/// The same with another word.
pub(super) fn badge_of(finding: Finding, word: &str) -> Markup {
    html! {
        span class=(format!("badge {}", finding_class(finding))) { span.sign aria-hidden="true" { (finding_sign(finding)) } (word) }
    }
}

/// The badge of a control.
pub(super) fn control_badge(passed: bool, word: &str) -> Markup {
    badge_of(if passed { Finding::Pass } else { Finding::Invalid }, word)
}

/// The class that carries its colour.
pub(super) fn finding_class(finding: Finding) -> &'static str {
    match finding {
        Finding::Shown => "shown",
        Finding::Pass => "pass",
        Finding::Leak => "leak",
        Finding::Invalid => "invalid",
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => "undecided",
    }
}

fn finding_sign(finding: Finding) -> &'static str {
    match finding {
        Finding::Shown => "–",
        Finding::Pass => "✓",
        Finding::Leak => "▲",
        Finding::Invalid => "✕",
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => "?",
    }
}

/// A table that scrolls in a box of its own where it is too wide. `numbers` are the columns with numbers.
pub(super) fn scrolling_table(label: &str, head: &[&str], numbers: &[usize], rows: &[Vec<Markup>]) -> Markup {
    let class = |at: usize| numbers.contains(&at).then_some("number");
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table {
                thead { tr { @for (at, name) in head.iter().enumerate() { th scope="col" class=[class(at)] { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td class=[class(at)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names and values.
pub(super) fn definition_list(pairs: &[(&str, String)]) -> Markup {
    html! { dl.pairs { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
}
