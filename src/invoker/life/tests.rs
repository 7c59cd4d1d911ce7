use proptest::prelude::*;

use super::*;

const TURNS: StopReason = StopReason::Restart(RestartReason::Turns);
const ISOLATION: StopReason = StopReason::Restart(RestartReason::Isolation);

const DEADLINES: Deadlines =
    Deadlines { start: Duration::from_secs(30), silence: Duration::from_mins(2), turn: Duration::from_mins(10) };

/// An invoker that is ready, and the time.
fn ready() -> (Life, Instant) {
    let now = Instant::now();
    let (mut life, first) = Life::begin(DEADLINES, now);
    assert_eq!(first, [Action::Send(Message::Initialize)]);
    assert_eq!(life.handle(Input::Initialized(Ok(())), now), [Action::ReportReady]);
    (life, now)
}

fn busy() -> (Life, Instant) {
    let (mut life, now) = ready();
    assert_eq!(life.handle(Input::Lease { clear: Clear::IfKept, switch: false }, now), [Action::Send(Message::User)]);
    (life, now)
}

/// An invoker that was asked for another model, and the time.
fn switching() -> (Life, Instant) {
    let (mut life, now) = ready();
    let leased = life.handle(Input::Lease { clear: Clear::IfKept, switch: true }, now);
    assert_eq!(leased, [Action::Send(Message::SetModel)], "and not the prompt");
    (life, now)
}

fn turn_ended(success: bool) -> Input {
    Input::TurnEnded { success, detects_late_text: true }
}

fn refusal() -> TurnError {
    TurnError::UnknownModel { model: "m".to_owned(), words: "no".to_owned() }
}

fn after(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}

#[test]
fn a_turn_is_followed_by_a_clear_and_only_the_reset_proves_it() {
    let (mut life, now) = busy();
    let ended = life.handle(turn_ended(true), now);
    assert_eq!(ended, [Action::EndTurn(Ending::Completed), Action::Send(Message::Clear)]);
    assert_eq!(life.handle(Input::Reset, now), []);
    assert_eq!(life.handle(turn_ended(true), now), [Action::ReportIdle { cleared: true }]);
    assert_eq!(*life.phase(), Phase::Ready);
}

#[test]
fn a_clear_without_a_reset_ends_the_invoker_as_planned() {
    let (mut life, now) = busy();
    life.handle(turn_ended(true), now);
    let actions = life.handle(turn_ended(true), now);
    assert_eq!(actions, [Action::ReportLeaving(Cause::NotCleared { unable: true }), Action::CloseStdin]);
}

#[test]
fn a_clear_that_fails_does_not_show_that_the_cli_is_unable() {
    let (mut life, now) = busy();
    life.handle(turn_ended(true), now);
    let actions = life.handle(turn_ended(false), now);
    assert_eq!(actions[0], Action::ReportLeaving(Cause::NotCleared { unable: false }));
}

#[test]
fn the_ladder_has_four_rungs_and_the_exit_ends_it() {
    let (mut life, mut now) = ready();
    let first = life.handle(Input::Stop { cause: TURNS, now: false }, now);
    assert_eq!(first, [Action::ReportLeaving(Cause::Planned(TURNS)), Action::CloseStdin]);
    for action in [Action::Terminate, Action::KillTree, Action::Abandon] {
        assert_eq!(life.handle(Input::Tick, now), [], "before its time");
        now = life.deadline().unwrap();
        assert_eq!(life.handle(Input::Tick, now), [action]);
    }
    assert_eq!(life.deadline(), None);
    assert_eq!(life.handle(Input::Exited(String::new()), now), [Action::ReportGone(Cause::Planned(TURNS))]);
}

#[test]
fn a_silent_turn_is_interrupted_and_any_event_puts_that_off() {
    let (mut life, now) = busy();
    life.handle(Input::Activity, after(now, 100));
    assert_eq!(life.handle(Input::Tick, after(now, 121)), []);
    let actions = life.handle(Input::Tick, after(now, 220));
    let Some(Action::EndTurn(Ending::Deadline(_, length))) = actions.first() else { panic!("{actions:?}") };
    assert_eq!(*length, DEADLINES.silence);
    assert_eq!(actions[1..], [Action::Send(Message::Interrupt)]);
    assert_eq!(life.handle(turn_ended(true), after(now, 221)), [Action::Send(Message::Clear)]);
}

#[test]
fn a_talkative_turn_ends_at_the_total_deadline() {
    let (mut life, now) = busy();
    for seconds in (0..600).step_by(60) {
        life.handle(Input::Activity, after(now, seconds));
    }
    let actions = life.handle(Input::Tick, after(now, 600));
    assert!(
        matches!(actions[0], Action::EndTurn(Ending::Deadline(_, length)) if length == DEADLINES.turn),
        "{actions:?}"
    );
}

#[test]
fn an_interrupt_that_is_not_obeyed_ends_the_invoker() {
    let (mut life, now) = busy();
    let given_up = life.handle(Input::GiveUp, now);
    assert_eq!(given_up, [Action::EndTurn(Ending::GivenUp), Action::Send(Message::Interrupt)]);
    let actions = life.handle(Input::Tick, after(now, 5));
    assert!(matches!(actions[..], [Action::ReportLeaving(Cause::Failed(_)), Action::CloseStdin]), "{actions:?}");
}

#[test]
fn a_second_result_ends_the_invoker() {
    let (mut life, now) = ready();
    let actions = life.handle(turn_ended(true), now);
    assert!(matches!(actions[..], [Action::ReportLeaving(Cause::Failed(_)), Action::CloseStdin]), "{actions:?}");
}

#[test]
fn told_to_stop_a_busy_invoker_ends_its_turn_first_and_does_not_clear() {
    let (mut life, now) = busy();
    assert_eq!(life.handle(Input::Stop { cause: TURNS, now: false }, now), []);
    let actions = life.handle(turn_ended(true), now);
    let leaving = Action::ReportLeaving(Cause::Planned(TURNS));
    assert_eq!(actions, [Action::EndTurn(Ending::Completed), leaving, Action::CloseStdin]);
}

#[test]
fn told_to_stop_now_it_gives_its_turn_up() {
    let (mut life, now) = busy();
    let actions = life.handle(Input::Stop { cause: StopReason::Shutdown, now: true }, now);
    assert_eq!(actions[0], Action::EndTurn(Ending::Stopping));
}

#[test]
fn an_exit_in_the_middle_of_a_turn_fails_both() {
    let (mut life, now) = busy();
    let how = "code 1".to_owned();
    let actions = life.handle(Input::Exited(how.clone()), now);
    assert_eq!(actions, [Action::EndTurn(Ending::Failed(how.clone())), Action::ReportGone(Cause::Failed(how))]);
}

#[test]
fn a_turn_for_another_model_is_said_only_after_the_switch() {
    let (mut life, now) = switching();
    assert_eq!(life.handle(Input::Activity, now), []);
    assert_eq!(life.handle(Input::Switched(Ok(())), after(now, 1)), [Action::Send(Message::User)]);
    let Phase::Busy { total, .. } = *life.phase() else { panic!("{:?}", life.phase()) };
    assert_eq!(total, after(now, 1) + DEADLINES.turn, "the turn's time begins with its prompt");
    let ended = life.handle(turn_ended(true), now);
    assert_eq!(ended, [Action::EndTurn(Ending::Completed), Action::Send(Message::Clear)]);
}

#[test]
fn a_refused_model_ends_the_turn_and_the_invoker_stays() {
    let (mut life, now) = switching();
    let refused = life.handle(Input::Switched(Err(refusal())), now);
    assert_eq!(refused, [Action::EndTurn(Ending::Refused(refusal())), Action::ReportIdle { cleared: false }]);
    assert_eq!(*life.phase(), Phase::Ready);
}

#[test]
fn a_client_that_goes_while_the_model_switches_leaves_an_invoker_that_is_ready_after_the_answer() {
    for answer in [Ok(()), Err(refusal())] {
        let (mut life, now) = switching();
        assert_eq!(life.handle(Input::GiveUp, now), [Action::EndTurn(Ending::GivenUp)]);
        assert!(matches!(life.phase(), Phase::Switching { .. }), "{:?}", life.phase());
        assert_eq!(life.handle(Input::GiveUp, now), []);
        assert_eq!(life.handle(Input::Switched(answer), now), [Action::ReportIdle { cleared: false }]);
        assert_eq!(*life.phase(), Phase::Ready);
    }
}

#[test]
fn a_switch_that_is_never_answered_ends_the_invoker_and_is_the_turns_fault() {
    let (mut life, now) = switching();
    assert_eq!(life.deadline(), Some(now + MAX_SWITCH));
    let actions = life.handle(Input::Tick, now + MAX_SWITCH);
    let [Action::EndTurn(ending), Action::ReportLeaving(Cause::NotSwitched(_)), Action::CloseStdin] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert!(matches!(ending, Ending::Deadline(_, MAX_SWITCH)), "nobody else is given this turn: {ending:?}");
    assert_eq!(life.handle(Input::Switched(Ok(())), now + MAX_SWITCH), [], "too late");
}

#[test]
fn an_end_while_the_model_switches_is_the_turns_fault_and_at_any_other_time_the_clis() {
    for input in [Input::Exited("e".to_owned()), Input::Broken("b".to_owned())] {
        let cause = |(mut life, now): (Life, Instant)| {
            let actions = life.handle(input.clone(), now);
            let cause = actions.into_iter().find_map(|action| match action {
                Action::ReportLeaving(cause) | Action::ReportGone(cause) => Some(cause),
                _ => None,
            });
            cause.unwrap()
        };
        assert!(matches!(cause(switching()), Cause::NotSwitched(_)), "{input:?}");
        assert!(matches!(cause(busy()), Cause::Failed(_)), "{input:?}");
        assert!(matches!(cause(ready()), Cause::Failed(_)), "{input:?}");
    }
}

#[test]
fn told_to_stop_while_the_model_switches_it_serves_its_turn_first() {
    let (mut life, now) = switching();
    assert_eq!(life.handle(Input::Stop { cause: TURNS, now: false }, now), []);
    assert_eq!(life.clone().handle(Input::Switched(Ok(())), now), [Action::Send(Message::User)]);
    let leaving = [Action::ReportLeaving(Cause::Planned(TURNS)), Action::CloseStdin];
    let refused = life.clone().handle(Input::Switched(Err(refusal())), now);
    assert_eq!(refused, [&[Action::EndTurn(Ending::Refused(refusal()))], &leaving[..]].concat());
    let given_up = life.clone().handle(Input::GiveUp, now);
    assert_eq!(given_up, [&[Action::EndTurn(Ending::GivenUp)], &leaving[..]].concat());
    life.handle(Input::Switched(Ok(())), now);
    let ended = life.handle(turn_ended(true), now);
    assert_eq!(ended, [&[Action::EndTurn(Ending::Completed)], &leaving[..]].concat());
}

#[test]
fn an_interrupted_turn_whose_late_text_could_not_be_told_from_the_next_ends_the_invoker() {
    for clear in [Clear::Never, Clear::IfKept, Clear::Always] {
        let (mut life, now) = ready();
        life.handle(Input::Lease { clear, switch: false }, now);
        life.handle(Input::GiveUp, now);
        let over = Input::TurnEnded { success: false, detects_late_text: false };
        let leaving = Action::ReportLeaving(Cause::Planned(ISOLATION));
        assert_eq!(life.handle(over, now), [leaving, Action::CloseStdin]);
    }
}

#[test]
fn told_to_stop_an_invoker_in_doubt_shows_first_whether_it_can_clear() {
    for told_in_turn in [true, false] {
        let (mut life, now) = ready();
        life.handle(Input::Lease { clear: Clear::Always, switch: false }, now);
        let stop = || Input::Stop { cause: ISOLATION, now: false };
        if told_in_turn {
            life.handle(stop(), now);
        }
        let over = life.handle(turn_ended(true), now);
        assert_eq!(over, [Action::EndTurn(Ending::Completed), Action::Send(Message::Clear)]);
        if !told_in_turn {
            assert_eq!(life.handle(stop(), now), []);
        }
        let leaving = [Action::ReportLeaving(Cause::Planned(ISOLATION)), Action::CloseStdin];
        assert_eq!(life.clone().handle(turn_ended(true), now), leaving, "it can't");
        assert_eq!(life.clone().handle(Input::Stop { cause: ISOLATION, now: true }, now), leaving, "no time for it");
        life.handle(Input::Reset, now);
        assert_eq!(life.handle(turn_ended(true), now), [&[Action::ReportCleared], &leaving[..]].concat());
    }
}

fn clears() -> impl Strategy<Value = Clear> {
    prop::sample::select(vec![Clear::Never, Clear::IfKept, Clear::Always])
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => Just(Input::Initialized(Ok(()))),
        1 => Just(Input::Initialized(Err("no".to_owned()))),
        4 => (clears(), any::<bool>()).prop_map(|(clear, switch)| Input::Lease { clear, switch }),
        3 => any::<bool>().prop_map(|taken| Input::Switched(if taken { Ok(()) } else { Err(refusal()) })),
        2 => Just(Input::Activity),
        6 => any::<(bool, bool)>().prop_map(|(success, detects_late_text)| Input::TurnEnded { success, detects_late_text }),
        3 => Just(Input::Reset),
        2 => Just(Input::GiveUp),
        1 => any::<bool>().prop_map(|now| Input::Stop { cause: TURNS, now }),
        1 => Just(Input::Kill),
        1 => Just(Input::Broken("b".to_owned())),
        1 => Just(Input::Exited("e".to_owned())),
        4 => Just(Input::Tick),
    ]
}

proptest! {
    /// Whatever happens: a lease ends exactly once, a prompt is never written before the switch that it needs, leaving is reported at most once and gone last, nothing follows
    /// gone, and then time and an exit alone bring every life to its end.
    #[test]
    fn any_life_keeps_its_promises(steps in prop::collection::vec((inputs(), 0_u64..200), 0..60)) {
        let mut now = Instant::now();
        let (mut life, _) = Life::begin(DEADLINES, now);
        let (mut leased, mut left, mut gone, mut unswitched) = (false, 0, 0, false);
        let mut check = |life: &mut Life, input: Input, now: Instant| {
            let was_gone = *life.phase() == Phase::Gone;
            let is_lease = matches!(input, Input::Lease { .. });
            if is_lease && (leased || was_gone) {
                return; // The owner leases one turn at a time, and not to the dead.
            }
            leased |= is_lease;
            unswitched = match input {
                Input::Lease { switch, .. } => switch,
                Input::Switched(Ok(())) => false,
                _ => unswitched,
            };
            for action in life.handle(input, now) {
                assert!(!was_gone, "{action:?} after the end");
                match action {
                    Action::Send(Message::User) => assert!(leased && !unswitched, "said to the wrong model"),
                    Action::EndTurn(_) => assert!(std::mem::take(&mut leased), "ended twice"),
                    Action::ReportLeaving(_) => left += 1,
                    Action::ReportGone(_) => gone += 1,
                    Action::ReportIdle { .. } => assert!(!leased && left == 0),
                    _ => {}
                }
            }
            assert!(left <= 1 && gone <= 1);
            let waits = matches!(life.phase(), Phase::Ready | Phase::Gone | Phase::Stopping { rung: Rung::Abandoned, .. });
            assert_eq!(life.deadline().is_none(), waits, "{:?} has no deadline", life.phase());
        };
        for (input, seconds) in steps {
            now += Duration::from_secs(seconds);
            check(&mut life, input, now);
        }
        check(&mut life, Input::Stop { cause: StopReason::Shutdown, now: false }, now);
        for _ in 0..12 {
            now = life.deadline().unwrap_or(now);
            check(&mut life, Input::Tick, now);
        }
        let at_the_end = matches!(life.phase(), Phase::Gone | Phase::Stopping { rung: Rung::Abandoned, .. });
        assert!(at_the_end, "{:?}", life.phase());
        check(&mut life, Input::Exited("e".to_owned()), now);
        assert_eq!(gone, 1);
        assert!(!leased, "a turn never ended");
    }
}
