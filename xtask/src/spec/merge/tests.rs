use super::*;

/// Members are 40 and 50, and what they say is a beat of some round.
struct Told {
    node: u64,
    t: u64,
    sendings: u64,
    lines: Vec<Value>,
}

impl Told {
    fn of(node: u64) -> Self {
        let mut told = Self {
            node,
            t: 100,
            sendings: 0,
            lines: Vec::new(),
        };
        told.start(node * 10);
        told
    }

    fn line(&mut self, kind: &str, more: Value) {
        let mut line = json!({"t": self.t, "node": self.node, "kind": kind});
        let fields = line.as_object_mut().expect("it is an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.lines.push(line);
        self.t += 1;
    }

    fn start(&mut self, life: u64) {
        self.line("start", json!({"cluster": "c", "life": life}));
    }

    fn meet(&mut self, peer: u64, life: u64) {
        let call = json!({"type": "met", "peer": peer, "disk": "d", "life": life});
        self.line("core", json!({"call": call}));
        self.line("step", json!({"input": {"type": "met"}}));
    }

    fn send(&mut self, to: u64, round: u64) {
        self.line("turn", json!({}));
        self.sendings += 1;
        let message = json!({"type": "beat", "round": round});
        let more = json!({"to": to, "sending": self.sendings, "message": message});
        self.line("send", more);
    }

    fn take(&mut self, from: u64, round: u64) {
        let message = json!({"type": "beat", "round": round});
        let call = json!({"type": "receive", "from": from, "sending": null, "message": message});
        self.line("core", json!({"call": call}));
        let input = json!({"type": "frame", "from": from, "sending": null, "message": message});
        self.line("step", json!({"input": input}));
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Two nodes that have met, the clock of the second far behind.
fn pair() -> (Told, Told) {
    let (mut a, mut b) = (Told::of(40), Told::of(50));
    b.t = 1;
    a.meet(50, 500);
    b.meet(40, 400);
    (a, b)
}

fn merged(all: &[&Told]) -> Result<Vec<Value>> {
    let texts: Vec<String> = all.iter().map(|told| told.text()).collect();
    let text = merge(&texts)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Who sent and who took in, in order, as (node, round).
fn frames(lines: &[Value]) -> Vec<(u64, u64)> {
    let is_frame = |line: &&Value| line["kind"] == "send" || line["call"]["type"] == "receive";
    let told = |line: &Value| {
        let message = if line["kind"] == "send" {
            line
        } else {
            &line["call"]
        };
        let round = message["message"]["round"].as_u64();
        (line["node"].as_u64().unwrap_or(0), round.unwrap_or(0))
    };
    lines.iter().filter(is_frame).map(told).collect()
}

fn refusal(all: &[&Told]) -> String {
    format!("{:#}", merged(all).expect_err("it must not be merged"))
}

#[test]
fn what_arrives_comes_after_it_was_sent_whatever_the_clocks_say() {
    let (mut a, mut b) = pair();
    a.send(50, 1);
    b.take(40, 1);
    b.send(40, 2);
    a.take(50, 2);
    let lines = merged(&[&a, &b]).expect("there is an order");
    assert_eq!(frames(&lines), [(1, 1), (2, 1), (2, 2), (1, 2)]);
    let numbers = |kind: &str| {
        let of = |line: &Value| match kind {
            "send" => line["sending"].as_u64(),
            _ => line["call"]["sending"].as_u64(),
        };
        lines.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(numbers("send"), numbers("receive"));
    assert!(!lines.iter().any(|line| line["node"] == 40), "not renamed");
}

#[test]
fn a_frame_that_was_not_sent_or_not_in_this_order_is_refused() {
    let (mut a, mut b) = pair();
    a.send(50, 1);
    a.send(50, 2);
    b.take(40, 2);
    assert!(refusal(&[&a, &b]).contains("there is no order"));
    let (a, mut b) = pair();
    b.take(40, 7);
    assert!(refusal(&[&a, &b]).contains("nothing more was sent"));
}

#[test]
fn two_that_answered_before_they_were_asked_are_refused() {
    let (mut a, mut b) = pair();
    a.take(50, 2);
    a.send(50, 1);
    b.take(40, 1);
    b.send(40, 2);
    assert!(refusal(&[&a, &b]).contains("was sent after what waits"));
}

#[test]
fn a_member_without_a_record_is_missed_once_it_is_heard() {
    let (a, mut b) = pair();
    merged(&[&b]).expect("nothing was heard");
    b.take(40, 1);
    assert!(refusal(&[&b]).contains("no record"));
    assert!(refusal(&[&a, &a]).contains("two records"));
}

#[test]
fn a_second_connection_of_the_same_lives_is_another() {
    let (mut a, mut b) = pair();
    a.send(50, 1);
    a.send(50, 2);
    b.take(40, 1);
    // The second frame was lost with the first connection.
    a.meet(50, 500);
    b.meet(40, 400);
    a.send(50, 3);
    b.take(40, 3);
    let lines = merged(&[&a, &b]).expect("there is an order");
    let last = frames(&lines).into_iter().next_back();
    assert_eq!(last, Some((2, 3)));
    // On one connection nothing is lost in the middle.
    let (mut a, mut b) = pair();
    a.send(50, 1);
    a.send(50, 2);
    a.send(50, 3);
    b.take(40, 1);
    b.take(40, 3);
    assert!(refusal(&[&a, &b]).contains("there is no order"));
}

#[test]
fn what_a_killed_process_did_not_finish_never_was() {
    let (mut a, b) = pair();
    let call = json!({"call": {"type": "deadline"}});
    a.line("core", call.clone());
    let torn = a.text() + "{\"t\":1";
    let merged = merge(&[torn.clone(), b.text()]).expect("there is an order");
    assert!(!merged.contains("deadline"), "{merged}");
    a.lines.clear();
    a.start(401);
    let lives = merge(&[torn.clone() + "\n" + &a.text(), b.text()]).expect("another life");
    assert!(lives.contains("\"life\":2"), "{lives}");
    a.lines.clear();
    a.line("turn", json!({}));
    let hole = merge(&[torn + "\n" + &a.text(), b.text()]).expect_err("a hole");
    assert!(format!("{hole:#}").contains("not whole"), "{hole:#}");
}

#[test]
fn after_the_end_of_a_record_a_trace_ends() {
    let (mut a, mut b) = pair();
    a.send(50, 1);
    a.line("stopped", json!({"why": "full"}));
    b.take(40, 1);
    b.take(40, 2);
    b.send(40, 3);
    let lines = merged(&[&a, &b]).expect("as far as it is known");
    assert_eq!(frames(&lines), [(1, 1), (2, 1)]);
    assert_eq!(lines.last().expect("lines")["kind"], "stopped");
}
