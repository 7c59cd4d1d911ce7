//! The parts that every exception and budget must have: a reason, an owner and an expiry date.

use std::path::Path;

use jiff::civil::Date;

/// Checks an exception or a budget and returns its last valid day. `what` names it in the error.
pub fn check_owner(what: &str, reason: &str, owner: &str, expires: &str) -> Result<Date, String> {
    if reason.trim().is_empty() || owner.trim().is_empty() {
        return Err(format!("{what} needs a reason and an owner"));
    }
    let day = expires.parse::<Date>().ok().filter(|_| expires.len() == "YYYY-MM-DD".len());
    day.ok_or_else(|| format!("{what} expires on {expires:?}: write it as YYYY-MM-DD"))
}

/// A warning for each line of a configuration file that calls a measured quantity by the key's old name.
#[must_use]
pub fn deprecated_keys(path: &Path, text: &str) -> Vec<String> {
    let (mut is_within, mut found) = (false, Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            // `[restart] signal` is a POSIX signal.
            is_within = ["[[exception]]", "[[budget]]"].iter().any(|header| line.starts_with(header));
        } else if is_within && line.strip_prefix("signal").is_some_and(|rest| rest.trim_start().starts_with('=')) {
            found.push(format!("{}, line {}: the key `signal` is now `metric`", path.display(), number + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_name_of_a_metric_is_found_where_it_is_one() {
        let text = "[restart]\nsignal = \"HUP\"\n[[exception]]\nsignal = \"files\"\n[[budget]]\n  signal=\"tasks\"\nmetric = \"files\"";
        let found = deprecated_keys(Path::new("a.toml"), text);
        assert_eq!(found, [4, 6].map(|line| format!("a.toml, line {line}: the key `signal` is now `metric`")));
    }
}
