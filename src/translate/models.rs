//! Resolves the model of a request, and lists the available models.

use std::collections::BTreeSet;

use crate::config::ModelAlias;
use crate::openai::{Model, ModelList};

/// The CLI's own short names; each stands for the newest model of its kind.
const SHORT_NAMES: [&str; 3] = ["haiku", "sonnet", "opus"];
/// Prefix of the full names of its models.
const FULL_NAME_PREFIX: &str = "claude-";
/// Longest full name, in bytes.
const MAX_FULL_NAME_BYTES: usize = 128;

/// The valid values of a request's `model`.
#[derive(Debug, Clone)]
pub struct Catalogue {
    own: String,
    aliases: Vec<ModelAlias>,
    created: u64,
}

impl Catalogue {
    /// `own` is the model that the CLI is started with, `created` the start of the server in unix seconds.
    #[must_use]
    pub fn new(own: &str, aliases: &[ModelAlias], created: u64) -> Self {
        Self { own: own.to_owned(), aliases: aliases.to_vec(), created }
    }

    /// The model that the server was started with.
    #[must_use]
    pub fn own(&self) -> &str {
        &self.own
    }

    /// The model to request from the CLI; none for the one that it was started with. `known` are the names that the CLI
    /// reported. The error lists the available names.
    pub fn resolve(&self, asked: Option<&str>, known: &[String]) -> Result<Option<String>, Vec<String>> {
        let Some(asked) = asked else { return Ok(None) };
        let alias = self.aliases.iter().find(|alias| alias.name == asked);
        let model = alias.map_or(asked, |alias| alias.model.as_str());
        let is_known = alias.is_some()
            || model == self.own
            || SHORT_NAMES.contains(&model)
            || (model.starts_with(FULL_NAME_PREFIX) && model.len() <= MAX_FULL_NAME_BYTES)
            || known.iter().any(|name| name == model);
        if is_known { Ok((model != self.own).then(|| model.to_owned())) } else { Err(self.names(known)) }
    }

    /// The body of `GET /v1/models`. Full names that are not listed are accepted as well.
    #[must_use]
    pub fn list(&self, known: &[String]) -> ModelList {
        let data = self.names(known).into_iter().map(|id| self.model_object(id)).collect();
        ModelList { object: "list", data }
    }

    /// The body of `GET /v1/models/{id}`; none if the name is unknown.
    #[must_use]
    pub fn find(&self, id: &str, known: &[String]) -> Option<Model> {
        self.resolve(Some(id), known).ok().map(|_| self.model_object(id.to_owned()))
    }

    fn model_object(&self, id: String) -> Model {
        let is_alias = self.aliases.iter().any(|alias| alias.name == id);
        Model { id, object: "model", created: self.created, owned_by: if is_alias { "alias" } else { "anthropic" } }
    }

    fn names(&self, known: &[String]) -> Vec<String> {
        let own = std::iter::once(self.own.as_str()).chain(SHORT_NAMES);
        let all = own.chain(known.iter().map(String::as_str)).chain(self.aliases.iter().map(|a| a.name.as_str()));
        let mut seen = BTreeSet::new();
        all.filter(|name| seen.insert(*name)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::new("haiku", &["gpt-4o-mini=sonnet".parse().unwrap(), "small=haiku".parse().unwrap()], 7)
    }

    #[test]
    fn names_become_models_or_a_list_of_what_there_is() {
        let resolve = |asked| catalogue().resolve(asked, &["claude-x".to_owned(), "best".to_owned()]);
        assert_eq!(resolve(None), Ok(None));
        for own in ["haiku", "small"] {
            assert_eq!(resolve(Some(own)), Ok(None), "the CLI's own needs no switch");
        }
        for (asked, model) in
            [("gpt-4o-mini", "sonnet"), ("opus", "opus"), ("claude-opus-9", "claude-opus-9"), ("best", "best")]
        {
            assert_eq!(resolve(Some(asked)), Ok(Some(model.to_owned())));
        }
        let list = resolve(Some("gpt-5")).unwrap_err();
        assert_eq!(list, ["haiku", "sonnet", "opus", "claude-x", "best", "gpt-4o-mini", "small"]);
    }

    #[test]
    fn the_list_names_each_model_once() {
        let list = catalogue().list(&["haiku".to_owned(), "claude-x".to_owned()]);
        let ids: Vec<_> = list.data.iter().map(|model| (model.id.as_str(), model.owned_by)).collect();
        let own = ["haiku", "sonnet", "opus", "claude-x"].map(|id| (id, "anthropic"));
        assert_eq!(ids, [own.as_slice(), &[("gpt-4o-mini", "alias"), ("small", "alias")]].concat());
        assert!(catalogue().find("gpt-5", &[]).is_none() && catalogue().find("small", &[]).is_some());
    }
}
