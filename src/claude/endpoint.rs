//! The API address that the environment sets for the CLI.

/// The variable that the CLI takes its API's address from, whoever pays.
pub(crate) const VARIABLE: &str = "ANTHROPIC_BASE_URL";

/// The address in the server's own environment, without what may be secret in it; none where it is not set.
#[must_use]
pub(crate) fn base_url_override() -> Option<String> {
    let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    Some(redact_url(&value.to_string_lossy()))
}

/// Scheme, host and path: a user, a password or a key can stand in every other part.
fn redact_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    shown.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (url, words) in [
            ("https://api.example.com", "https://api.example.com"),
            ("http://user:s3cret@proxy:8080/v1?key=s3cret#s3cret", "http://proxy:8080/v1"),
            ("https://s3cret@proxy", "https://proxy"),
            ("user:s3cret@proxy:80/x", "proxy:80/x"),
            ("http://proxy\n/x", "http://proxy/x"),
        ] {
            assert_eq!(redact_url(url), words);
        }
    }
}
