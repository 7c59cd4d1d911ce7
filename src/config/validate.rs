//! Validates combinations of options.

use std::collections::BTreeSet;

use super::{Config, Isolation};

/// CLI flags that the server sets itself, and what to use instead.
const OURS: [(&str, &str); 4] = [
    ("--input-format", "the server sets this flag itself"),
    ("--output-format", "the server sets this flag itself"),
    ("--model", "use the --model option of the server"),
    ("--system-prompt", "use the --system-prompt-file option of the server"),
];

/// CLI flags that resume an earlier conversation.
const RESUMING: [&str; 5] = ["--continue", "-c", "--resume", "-r", "--session-id"];

impl Config {
    /// Rejects options that contradict each other; the error says what to change.
    pub fn validate(&self) -> Result<(), String> {
        self.check_address()?;
        self.check_aliases()?;
        self.check_cli_args()?;
        if self.slots > self.max_connections {
            return Err(format!(
                "--slots {} exceeds --max-connections {}: each running turn needs a connection; lower the first or raise \
                 the second",
                self.slots, self.max_connections
            ));
        }
        if self.max_body_bytes > self.max_bodies_bytes {
            return Err(format!(
                "--max-body-bytes {} exceeds --max-bodies-bytes {}: the longest body would never fit; lower the first or \
                 raise the second",
                self.max_body_bytes, self.max_bodies_bytes
            ));
        }
        Ok(())
    }

    /// An open server without a key would let everybody use the account.
    fn check_address(&self) -> Result<(), String> {
        if self.listen.ip().is_loopback() || self.has_key() {
            return Ok(());
        }
        Err(format!(
            "{} can be reached from other machines: set a key with --api-key or --api-key-file, or listen on 127.0.0.1",
            self.listen
        ))
    }

    fn check_aliases(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        match self.model_alias.iter().find(|alias| !names.insert(&alias.name)) {
            Some(alias) => Err(format!("--model-alias: `{}` is defined twice; define it once", alias.name)),
            None => self.check_alias_targets(),
        }
    }

    /// An alias is looked up once, so what stands for another alias would reach the CLI as that alias's name.
    fn check_alias_targets(&self) -> Result<(), String> {
        for alias in &self.model_alias {
            let (name, model) = (&alias.name, &alias.model);
            if name == model {
                return Err(format!(
                    "--model-alias {name}={model}: the alias stands for itself; name a model, or leave it out"
                ));
            }
            if let Some(next) = self.model_alias.iter().find(|other| other.name == *model) {
                return Err(format!(
                    "--model-alias {name}={model}: `{model}` is another alias; name a model, for example {name}={}",
                    if next.model == *name { "haiku" } else { &next.model }
                ));
            }
        }
        match self.model_alias.iter().find(|alias| alias.name == self.model) {
            Some(alias) => Err(format!(
                "--model {}: this is an alias (--model-alias {}={}); set --model to the model itself",
                alias.name, alias.name, alias.model
            )),
            None => Ok(()),
        }
    }

    fn check_cli_args(&self) -> Result<(), String> {
        let names: Vec<&str> = self.cli_args.iter().map(|arg| arg.split('=').next().unwrap_or_default()).collect();
        if let Some((flag, instead)) = OURS.iter().find(|(flag, _)| names.contains(flag)) {
            return Err(format!("--cli-arg {flag}: {instead}"));
        }
        match RESUMING.iter().find(|flag| names.contains(flag)) {
            Some(flag) if self.isolation == Isolation::Auto => Err(format!(
                "--cli-arg {flag} resumes an earlier conversation, which --isolation auto rules out; remove it, or set \
                 --isolation none"
            )),
            _ => Ok(()),
        }
    }
}
