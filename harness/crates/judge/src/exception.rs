//! What an exception or a budget needs: a reason, an owner, and a last day.

use jiff::civil::Date;

/// The last day of something that holds for a while. `what` names it in the error.
pub fn check_owner(what: &str, reason: &str, owner: &str, expires: &str) -> Result<Date, String> {
    if reason.trim().is_empty() || owner.trim().is_empty() {
        return Err(format!("{what} needs a reason and an owner"));
    }
    let day = expires.parse::<Date>().ok().filter(|_| expires.len() == "YYYY-MM-DD".len());
    day.ok_or_else(|| format!("{what} expires on {expires:?}: write it as YYYY-MM-DD"))
}
