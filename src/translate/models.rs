//! Which model a request gets, and the list of those that there are.

use std::collections::BTreeSet;

use crate::config::ModelAlias;
use crate::openai::{Model, ModelList};

/// The CLI's own short names; each stands for the newest model of its kind.
const SHORT: [&str; 3] = ["haiku", "sonnet", "opus"];
/// What the full names of its models begin with.
const FULL: &str = "claude-";
/// How long they can be, in bytes.
const LONGEST: usize = 128;

/// The names that a request's `model` may be.
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

    /// The model to ask the CLI for: none for its own. `known` are the names that the CLI itself has told. The error
    /// lists what there is.
    pub fn resolve(&self, asked: Option<&str>, known: &[String]) -> Result<Option<String>, Vec<String>> {
        let Some(asked) = asked else { return Ok(None) };
        let alias = self.aliases.iter().find(|alias| alias.name == asked);
        let model = alias.map_or(asked, |alias| alias.model.as_str());
        let is_known = alias.is_some()
            || model == self.own
            || SHORT.contains(&model)
            || (model.starts_with(FULL) && model.len() <= LONGEST)
            || known.iter().any(|name| name == model);
        if is_known { Ok((model != self.own).then(|| model.to_owned())) } else { Err(self.names(known)) }
    }

    /// All of them, as `GET /v1/models` lists them. Any other full name of a model is taken as well.
    #[must_use]
    pub fn list(&self, known: &[String]) -> ModelList {
        let data = self.names(known).into_iter().map(|id| self.model_object(id)).collect();
        ModelList { object: "list", data }
    }

    /// One of them; none where there is no such name.
    #[must_use]
    pub fn find(&self, id: &str, known: &[String]) -> Option<Model> {
        self.resolve(Some(id), known).ok().map(|_| self.model_object(id.to_owned()))
    }

    fn model_object(&self, id: String) -> Model {
        let is_alias = self.aliases.iter().any(|alias| alias.name == id);
        Model { id, object: "model", created: self.created, owned_by: if is_alias { "alias" } else { "anthropic" } }
    }

    fn names(&self, known: &[String]) -> Vec<String> {
        let own = std::iter::once(self.own.as_str()).chain(SHORT);
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
