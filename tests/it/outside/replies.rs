//! Replies of every kind that the API allows.

use leakgate_judge::sample::Metric;
use predicates::str::contains;

use super::{Foreign, SHORT};

#[test]
fn replies_that_are_no_text_are_no_leak_and_are_counted_by_kind() {
    let answer = "call = {'name': 'f', 'arguments': '{}'}; kinds = [\
         ({'content': None, 'refusal': 'no'}, 'stop'), ({'content': None, 'tool_calls': [{'index': 0, 'id': 'a', 'type': 'function', 'function': call}]}, 'tool_calls'), \
         ({'content': None, 'function_call': call}, 'function_call'), ({'content': None, 'audio': {'id': 'a', 'transcript': 'hi'}}, 'stop'), \
         ({'content': ''}, 'length'), ({'content': None}, 'content_filter'), ({'content': None}, 'stop'), ({'content': 'hello'}, 'stop')]; \
         message, finish = kinds[number % 8]";
    let Some(server) = Foreign::new(answer, &format!("[load]\nstreamed = 0.5\n{SHORT}")) else { return };
    server.run(&[], &[]).code(0).stdout(contains("Replies without text, which the API allows: "));
    let proof = server.verdict().proof;
    assert_eq!((proof.mixed_up, proof.errors, proof.lost), (0, 0, 0));
    for (count, name) in proof.kinds.counts_by_name() {
        assert!(count > 5, "{name}: {:?}", proof.kinds);
    }
    assert!(proof.unmarked > 5);
}

#[test]
fn cut_streams_and_foreign_marks_are_seen_whatever_kind_they_are() {
    for answer in [
        "finish = 'CUT' if number > 50 and request.get('stream') else 'stop'",
        "message = {'content': None, 'refusal': '⟦deadbeef00000000⟧'} if number % 20 == 19 else message",
    ] {
        let Some(server) = Foreign::new(answer, SHORT) else { return };
        server.run(&[], &[]).code(1);
        assert!(server.leaks().contains(&Metric::MixedUp), "{answer}: {:?}", server.leaks());
    }
}
