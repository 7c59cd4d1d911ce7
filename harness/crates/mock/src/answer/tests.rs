use serde_json::{Value, json};

use super::*;

const ASKED: &str = "Give me JSON of {\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}}}";
const TOOLS: &str = "<user>\nHi\n</user>\n<tools>\n<tool name=\"f\">\n<parameters>\n{\"type\": \"object\", \
                     \"properties\": {\"x\": {\"type\": \"integer\"}}, \"required\": [\"x\"]}\n</parameters>\n</tool>\n\
                     <tool name=\"g\">\n<parameters>\n{\"type\": \"object\", \"properties\": {}}\n</parameters>\n</tool>\n</tools>";

fn reply(mode: &str, prompt: &str) -> Reply {
    mode.parse::<Mode>().expect("a mode").make_reply(prompt, Some("00c0ffee"), Duration::from_secs(1000))
}

fn words(mode: &str, prompt: &str) -> String {
    match reply(mode, prompt).content {
        Content::Text(text) | Content::Json(text) => text,
        other => panic!("{other:?}"),
    }
}

fn value(mode: &str, prompt: &str) -> Value {
    serde_json::from_str(&words(mode, prompt)).expect("JSON")
}

#[test]
fn the_word_in_a_prompt_wins_and_the_last_one_counts() {
    assert_eq!(words("text", "[[answer:schema]] [[answer:echo]]"), "[[answer:schema]] [[answer:echo]]");
    assert!(reply("echo", "[[answer:text]]").is_recorded());
    assert_eq!(words("echo", "[[answer:max-tokens]]"), "[[answer:max-tokens]]", "the kind is the option's");
    let unknown = words("text", "[[answer:schema+quick]]");
    assert!(unknown.starts_with("mock-claude: there is no answer `quick`; the kinds are text"), "{unknown}");
}

#[test]
fn modes_that_are_none_are_refused() {
    for mode in ["", "schema+", "text+echo", "slow", "slow=x", "tools=0", "api-error=200", "tool=", "fenced=1"] {
        assert!(mode.parse::<Mode>().is_err(), "{mode}");
    }
    assert!("text".parse::<Mode>().is_ok_and(|mode| mode.make_reply("", None, Duration::ZERO).is_recorded()));
}

#[test]
fn json_comes_bare_fenced_or_between_sentences() {
    let bare = r#"{"a":"⟦00c0ffee⟧ a 1"}"#;
    assert_eq!(words("schema", ASKED), bare);
    assert_eq!(words("schema+fenced", ASKED), format!("```json\n{bare}\n```"));
    assert_eq!(words("prose", ASKED), format!("Here is what was asked for:\n\n{bare}\n\nThat is all of it."));
    assert!(words("fenced+prose", ASKED).contains(&format!(":\n\n```json\n{bare}\n```\n\nThat")));
    assert_eq!(words("schema", "no schema"), r#"{"answer":"⟦00c0ffee⟧ answer 1"}"#);
}

#[test]
fn auto_does_what_the_turn_asks_for() {
    assert_eq!(value("auto", TOOLS), json!({"tool_calls": [{"name": "f", "arguments": {"x": 1}}]}));
    let answered = TOOLS.replace("</user>", "</user>\n<tool_result id=\"1\">\n7\n</tool_result>");
    assert_eq!(reply("auto", &answered).content, Content::Recorded);
    assert_eq!(value("auto", ASKED)["a"], "⟦00c0ffee⟧ a 1");
    assert_eq!(value("auto", "<response_format>\nJSON\n</response_format>")["answer"], "⟦00c0ffee⟧ answer 1");
    assert!(value("auto", &format!("{answered}\n<response_format>\n</response_format>"))["answer"].is_string());
    assert_eq!(reply("auto", "Hi").content, Content::Recorded);
}

#[test]
fn the_functions_are_those_that_are_wanted() {
    let names = |mode: &str, prompt: &str| -> Vec<String> {
        let calls = value(mode, prompt);
        calls["tool_calls"].as_array().into_iter().flatten().map(|call| call["name"].to_string()).collect()
    };
    assert_eq!(names("tool", TOOLS), ["\"f\""]);
    assert_eq!(names("tool=g", TOOLS), ["\"g\""]);
    assert_eq!(names("tools=3", TOOLS), ["\"f\"", "\"g\"", "\"f\""]);
    assert_eq!(names("tool", &format!("{TOOLS}\nYou must call \"g\". Reply")), ["\"g\""]);
    assert_eq!(names("tool=nobodys", TOOLS), ["\"nobodys\""]);
    assert_eq!(words("tool", "Hi"), "mock-claude: the turn describes no function that could be called");
}

#[test]
fn wrong_once_is_wrong_until_it_sees_itself() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let first = words("wrong-once", ASKED);
    let wrong: Value = serde_json::from_str(&first).expect("JSON");
    assert!(!validator.is_valid(&wrong), "{wrong}");
    let again = format!("{ASKED}\n<assistant>\n{first}\n</assistant>");
    assert!(validator.is_valid(&value("wrong-once", &again)));
    assert!(!validator.is_valid(&value("wrong-always", &again)));

    assert_eq!(value("wrong-once", TOOLS)["tool_calls"][0]["arguments"], json!({WRONG_KEY: WRONG_VALUE}));
    let any_object = "<response_format>\nReply with one JSON object.\n</response_format>";
    assert_eq!(value("wrong-once", any_object), json!([WRONG_KEY, WRONG_VALUE]));
    assert_eq!(
        value("wrong-once", &format!("{any_object} {}", words("wrong-once", any_object)))["answer"],
        "⟦00c0ffee⟧ answer 1"
    );
    let broken = words("wrong-once+not-json", ASKED);
    assert!(serde_json::from_str::<Value>(&broken).is_err());
    assert!(validator.is_valid(&value("wrong-once+not-json", &format!("{ASKED} {broken}"))));
    assert!(words("not-json", &broken).starts_with("These are words"));
}

#[test]
fn a_wrong_instance_breaks_even_a_schema_that_allows_nearly_everything() {
    for schema in [
        json!({"type": "object"}),
        json!({"type": "array"}),
        json!({"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": ["string", "null", "array"]}}}),
        json!({"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}, {"type": "array", "minItems": 3}]}),
        json!({"type": "string"}),
    ] {
        let right = instance::make_instance(&schema, None).expect("made");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        assert!(validator.is_valid(&right) && !validator.is_valid(&break_instance(&schema, &right)), "{schema}");
    }
}

#[test]
fn errors_limits_and_silence_are_told() {
    assert_eq!(reply("api-error=529", "Hi").content, Content::Error(529));
    let quota = |mode| reply(mode, "Hi").quota.map(|quota| (quota.rejected, quota.resets_at.as_secs()));
    assert_eq!((quota("rate-limit"), quota("rate-limit=5")), (Some((true, 1060)), Some((true, 1005))));
    assert_eq!(reply("rate-limit", "Hi").content, Content::Error(429));
    assert_eq!(quota("rate-limit-warning+echo"), Some((false, 1060)));
    let slow = reply("slow=200+drip=3+refusal", "Hi");
    assert_eq!(
        (slow.first_delay.as_millis(), slow.piece_delay.as_millis(), slow.stop_reason),
        (200, 3, Some("refusal"))
    );
}
