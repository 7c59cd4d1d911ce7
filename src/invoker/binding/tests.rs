use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::claude::event::TurnResult;
use crate::invoker::reply::Reply;

const LIMIT: usize = 10_000;

fn line(session: Option<&str>, event: ClaudeEvent) -> Line<'static> {
    Line { session: session.map(|session| Cow::Owned(session.to_owned())), event }
}

fn init() -> ClaudeEvent {
    ClaudeEvent::Init { model: None }
}

fn result(text: &str) -> ClaudeEvent {
    let (subtype, result) = ("success".to_owned(), Some(text.to_owned()));
    ClaudeEvent::Result(TurnResult { subtype, result, ..TurnResult::default() })
}

fn delta(text: &str) -> ClaudeEvent {
    ClaudeEvent::TextDelta(text.to_owned())
}

/// A process that has begun a turn in the session `s-1`.
fn begun() -> TurnBinding {
    let mut binding = TurnBinding::default();
    binding.begin_work(Work::Prompt);
    binding.check_line(&line(Some("s-1"), init())).unwrap();
    binding
}

#[test]
fn nothing_of_a_turn_comes_before_it_begins_or_after_it_ends() {
    let mut asked = TurnBinding::default();
    asked.begin_work(Work::Prompt);
    let mut over = begun();
    over.check_line(&line(Some("s-1"), result("a"))).unwrap();
    for binding in [&mut TurnBinding::default(), &mut asked, &mut over] {
        assert_eq!(binding.check_line(&line(None, delta("a"))), Err(Misplaced::Text));
        assert_eq!(binding.check_line(&line(None, ClaudeEvent::BlockText("a".to_owned()))), Err(Misplaced::Text));
        assert_eq!(binding.check_line(&line(None, ClaudeEvent::MessageStart)), Err(Misplaced::Text));
        assert_eq!(binding.check_line(&line(None, result("a"))), Err(Misplaced::Result));
        assert_eq!(binding.check_line(&line(None, ClaudeEvent::ConversationReset)), Err(Misplaced::Reset));
        assert_eq!(binding.check_line(&line(None, ClaudeEvent::Other)), Ok(()));
    }
}

#[test]
fn a_turn_begins_once_and_only_when_it_was_asked_for() {
    assert_eq!(TurnBinding::default().check_line(&line(None, init())), Err(Misplaced::Init));
    assert_eq!(begun().check_line(&line(Some("s-1"), init())), Err(Misplaced::Init));
}

#[test]
fn a_line_of_an_earlier_conversation_is_no_part_of_the_turn() {
    for event in [delta("a"), ClaudeEvent::MessageStart, result("a")] {
        assert_eq!(begun().check_line(&line(Some("s-0"), event.clone())), Err(Misplaced::Session));
        assert_eq!(begun().check_line(&line(None, event)), Ok(()), "it does not say whose it is");
    }
}

#[test]
fn text_needs_a_message_of_its_own_turn_where_the_cli_announces_messages() {
    let mut binding = begun();
    binding.check_line(&line(None, delta("a"))).unwrap();
    assert!(!binding.detects_late_text());
    binding.check_line(&line(None, ClaudeEvent::MessageStart)).unwrap();
    binding.check_line(&line(None, delta("a"))).unwrap();
    binding.check_line(&line(None, result("aa"))).unwrap();
    assert!(binding.detects_late_text());
    binding.begin_work(Work::Prompt);
    binding.check_line(&line(None, init())).unwrap();
    assert_eq!(binding.check_line(&line(None, delta("late"))), Err(Misplaced::Text));
}

#[test]
fn a_clear_has_one_reset_and_a_result_that_comes_before_its_turn_is_not_its_own() {
    let mut binding = begun();
    binding.check_line(&line(None, result("a"))).unwrap();
    binding.begin_work(Work::Clear);
    binding.check_line(&line(Some("s-1"), ClaudeEvent::ConversationReset)).unwrap();
    assert_eq!(binding.check_line(&line(Some("s-1"), ClaudeEvent::ConversationReset)), Err(Misplaced::Reset));
    assert_eq!(binding.check_line(&line(Some("s-1"), result("a"))), Err(Misplaced::Result));
    binding.check_line(&line(Some("s-2"), init())).unwrap();
    binding.check_line(&line(Some("s-2"), result(""))).unwrap();
    assert_eq!(binding.check_line(&line(Some("s-2"), ClaudeEvent::ConversationReset)), Err(Misplaced::Reset));
}

/// How a CLI talks, as far as versions differ.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    announces_messages: bool,
    repeats_blocks: bool,
    clears: bool,
}

/// What one client asked for, and what it would get.
fn text(turn: usize) -> String {
    format!("reply-{turn}")
}

/// Every line of some turns, with the number of the work that it belongs to: turns are even, resets odd.
fn talk(turns: usize, dialect: Dialect) -> Vec<(usize, Line<'static>)> {
    let (mut lines, mut session) = (Vec::new(), 1);
    for turn in 0..turns {
        let id = format!("s-{session}");
        let text = text(turn);
        let (first, last) = text.split_at(text.len() / 2);
        let mut say = |event| lines.push((2 * turn, line(Some(&id), event)));
        say(init());
        if dialect.announces_messages {
            say(ClaudeEvent::MessageStart);
        }
        say(delta(first));
        say(delta(last));
        if dialect.repeats_blocks {
            say(ClaudeEvent::BlockText(text.clone()));
        }
        say(result(&text));
        if dialect.clears {
            lines.push((2 * turn + 1, line(Some(&id), ClaudeEvent::ConversationReset)));
            session += 1;
            let id = format!("s-{session}");
            lines.push((2 * turn + 1, line(Some(&id), init())));
            lines.push((2 * turn + 1, line(Some(&id), result(""))));
        }
    }
    lines
}

/// What the client of each turn saw: what was streamed to it, and the whole if its turn was completed.
#[derive(Debug, Default, Clone)]
struct Seen {
    streamed: String,
    whole: Option<String>,
}

/// Reads the lines of one process as an invoker does, until one is misplaced.
fn read(lines: &[(usize, Line<'static>)], turns: usize) -> Vec<Seen> {
    let (mut binding, mut reply, mut seen) = (TurnBinding::default(), Reply::default(), vec![Seen::default(); turns]);
    let (mut work, mut clears) = (0, false);
    binding.begin_work(Work::Prompt);
    clears |= lines.iter().any(|(work, _)| work % 2 == 1);
    for (_, line) in lines {
        let turn = work / 2;
        if turn == turns || binding.check_line(line).is_err() {
            return seen;
        }
        let is_turn = work % 2 == 0;
        match &line.event {
            ClaudeEvent::TextDelta(text) if is_turn => {
                assert!(reply.add_delta(text, LIMIT));
                seen[turn].streamed.push_str(text);
            }
            ClaudeEvent::BlockText(text) if is_turn => assert!(reply.add_block(text, LIMIT)),
            ClaudeEvent::Result(result) => {
                if is_turn {
                    let Ok(finished) = std::mem::take(&mut reply).finish(result.clone()) else { return seen };
                    seen[turn].whole = Some(finished.outcome.unwrap().text);
                }
                work += if clears { 1 } else { 2 };
                binding.begin_work(if work % 2 == 0 { Work::Prompt } else { Work::Clear });
            }
            _ => {}
        }
    }
    seen
}

/// The one case that stays open, and only without `/clear` between the turns.
#[test]
fn a_whole_reply_that_comes_again_is_refused_where_each_turn_has_its_own_conversation() {
    for clears in [true, false] {
        let mut lines = talk(2, Dialect { announces_messages: false, repeats_blocks: true, clears });
        let of_first = |event: fn(&ClaudeEvent) -> bool| {
            lines.iter().find(|(turn, line)| *turn == 0 && event(&line.event)).unwrap().clone()
        };
        let block = of_first(|event| matches!(event, ClaudeEvent::BlockText(_)));
        let result = of_first(|event| matches!(event, ClaudeEvent::Result(_)));
        let begun = lines.iter().position(|(turn, line)| *turn == 2 && matches!(line.event, ClaudeEvent::Init { .. }));
        let begun = begun.unwrap() + 1;
        lines.splice(begun..begun, [block, result]);
        let whole = read(&lines, 2)[1].whole.clone();
        assert_eq!(whole, if clears { None } else { Some(text(0)) });
    }
}

fn dialects() -> impl Strategy<Value = Dialect> {
    any::<(bool, bool, bool)>().prop_map(|(announces_messages, repeats_blocks, clears)| Dialect {
        announces_messages,
        repeats_blocks,
        clears,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever line comes again, at whatever moment: a turn ends with its own text or not at all.
    #[test]
    fn a_line_that_comes_again_never_reaches_another_turn(
        dialect in dialects(),
        turns in 1_usize..4,
        strays in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
    ) {
        let sound = talk(turns, dialect);
        // Within one conversation nothing tells a whole reply that comes again from the reply of the running turn.
        let again: Vec<&(usize, Line<'_>)> = strays.iter().map(|(from, _)| &sound[from.index(sound.len())]).collect();
        let is_whole_reply = again.iter().any(|(turn, line)| {
            let has_result = |(other, line): &&(usize, Line<'_>)| other == turn && matches!(line.event, ClaudeEvent::Result(_));
            matches!(line.event, ClaudeEvent::BlockText(_)) && again.iter().copied().any(|other| has_result(&other))
        });
        prop_assume!(dialect.clears || !is_whole_reply);
        let mut lines = sound.clone();
        for (from, to) in &strays {
            let from = from.index(sound.len());
            let stray = sound[from].clone();
            // Not before it came for the first time.
            let place = lines.iter().rposition(|known| *known == stray).unwrap() + 1;
            lines.insert(place + to.index(lines.len() - place + 1), stray);
        }
        let seen = read(&lines, turns);
        for (turn, Seen { streamed, whole }) in seen.iter().enumerate() {
            if let Some(whole) = whole {
                prop_assert_eq!(whole, &text(turn));
            }
            // A delta names its conversation and nothing else: within one it is told apart when its turn ends.
            if dialect.clears {
                let is_foreign = (0..turns).any(|other| other != turn && streamed.contains(&other.to_string()));
                prop_assert!(!is_foreign, "{streamed:?} in turn {turn}");
            }
        }
        if strays.is_empty() {
            let whole: Vec<_> = seen.into_iter().map(|seen| seen.whole.unwrap()).collect();
            prop_assert_eq!(whole, (0..turns).map(text).collect::<Vec<_>>(), "every turn of a sound CLI is completed");
        }
    }
}
