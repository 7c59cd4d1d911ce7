//! Billing: which variables of the server's environment reach the CLI.
//!
//! The CLI takes a key from its environment before its own login, without a word, and sends headers that it finds there
//! beside it. So with `subscription` nothing that would bill somewhere else is passed on, and with `api-key` something of
//! that kind must be there. Where requests go (`ANTHROPIC_BASE_URL`, a proxy) says nothing about who pays, and is left
//! alone.

use std::fmt;

use crate::config::Auth;

/// The account that pays for turns. The key itself is never stored here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The login that the CLI has of its own, or `CLAUDE_CODE_OAUTH_TOKEN`.
    Subscription,
    /// The key or the cloud that this variable of the environment names.
    ApiKey(&'static str),
}

/// `--auth api-key` without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "--auth api-key (CCW_AUTH) needs a key in the environment, and there is none: set ANTHROPIC_API_KEY (or \
     ANTHROPIC_AUTH_TOKEN, or a cloud such as CLAUDE_CODE_USE_BEDROCK=1), or use --auth subscription"
)]
pub struct KeyMissing;

/// Switches that send every request to a cloud's own bill. The CLI looks at these first.
const CLOUD_SWITCHES: [&str; 7] = [
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_GATEWAY",
];

/// Keys that the CLI takes, in its order.
const API_KEYS: [&str; 2] = ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"];

/// Other variables that would bill another account than the CLI's own login.
const OTHER_BILLING_VARIABLES: [&str; 11] = [
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_FEDERATION_RULE_ID",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN_FILE",
    "AWS_BEARER_TOKEN_BEDROCK",
    "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR",
    "CLAUDE_CODE_GATEWAY_TOKEN_FILE_DESCRIPTOR",
    "CLAUDE_CODE_SESSION_ACCESS_TOKEN",
];

/// The subscription's own.
const LOGIN_VARIABLES: [&str; 3] =
    ["CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_REFRESH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"];

/// Chooses the account for `auth`; `is_set` looks a variable up in the environment.
pub fn select_account(auth: Auth, is_set: impl Fn(&str) -> bool) -> Result<Account, KeyMissing> {
    match auth {
        Auth::Subscription => Ok(Account::Subscription),
        Auth::ApiKey => {
            let found = CLOUD_SWITCHES.into_iter().chain(API_KEYS).find(|name| is_set(name));
            found.map(Account::ApiKey).ok_or(KeyMissing)
        }
    }
}

/// Whether the server's own environment has a variable: a key that is not empty, or a cloud that is switched on.
#[must_use]
pub fn is_set(name: &str) -> bool {
    let value = std::env::var_os(name).unwrap_or_default();
    if CLOUD_SWITCHES.contains(&name) {
        let value = value.to_string_lossy().trim().to_ascii_lowercase();
        matches!(value.as_str(), "1" | "true" | "yes" | "on")
    } else {
        !value.is_empty()
    }
}

impl Account {
    /// The variables that must not reach the CLI.
    pub fn withheld_variables(self) -> impl Iterator<Item = &'static str> {
        let names: &[&[&'static str]] = match self {
            Self::Subscription => &[&CLOUD_SWITCHES, &API_KEYS, &OTHER_BILLING_VARIABLES],
            Self::ApiKey(_) => &[&LOGIN_VARIABLES],
        };
        names.iter().flat_map(|names| names.iter().copied())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription => f.write_str("subscription"),
            Self::ApiKey(name) => write!(f, "api-key ({name})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(names: &'a [&'a str]) -> impl Fn(&str) -> bool + 'a {
        |name| names.contains(&name)
    }

    #[test]
    fn with_a_subscription_no_key_and_no_cloud_reaches_the_cli() {
        let everything = select_account(Auth::Subscription, |_| true).unwrap();
        assert_eq!(everything, select_account(Auth::Subscription, |_| false).unwrap());
        assert_eq!(everything.to_string(), "subscription");
        let withheld: Vec<_> = everything.withheld_variables().collect();
        for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"] {
            assert!(withheld.contains(&name), "{name}");
        }
        assert!(!withheld.contains(&"CLAUDE_CODE_OAUTH_TOKEN"));
        assert!(!withheld.contains(&"ANTHROPIC_BASE_URL"));
    }

    #[test]
    fn with_an_api_key_it_must_be_there_and_the_subscription_is_left_out() {
        assert_eq!(select_account(Auth::ApiKey, with(&["CLAUDE_CODE_OAUTH_TOKEN", "HOME"])), Err(KeyMissing));
        for (names, words) in [
            (&["ANTHROPIC_API_KEY"][..], "api-key (ANTHROPIC_API_KEY)"),
            (&["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"], "api-key (ANTHROPIC_AUTH_TOKEN)"),
            (&["ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_VERTEX"], "api-key (CLAUDE_CODE_USE_VERTEX)"),
        ] {
            let account = select_account(Auth::ApiKey, with(names)).unwrap();
            assert_eq!(account.to_string(), words);
            let withheld: Vec<_> = account.withheld_variables().collect();
            assert!(withheld.contains(&"CLAUDE_CODE_OAUTH_TOKEN"));
            assert!(names.iter().all(|name| !withheld.contains(name)), "{withheld:?}");
        }
    }
}
