//! OpenSLO files, good and bad: what is refused is refused with file, line and field, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

use snowshed_engine::slo::parse;

const GOOD: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: {name: transcode-first-byte}
spec:
  service: transcoder
  indicator:
    metadata: {name: first-byte}
    spec:
      ratioMetric:
        counter: true
        good:  {metricSource: {type: snowshed, spec: {route: "POST /api/v1/transcode", status: "< 500", first_byte: "<= 1s"}}}
        total: {metricSource: {type: snowshed, spec: {route: "POST /api/v1/transcode"}}}
  timeWindow: [{duration: 1h, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.95}]
"#;

fn refused(text: &str) -> String {
    match parse(text, "slo.yaml") {
        Ok(slos) => panic!("taken: {slos:?}\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_good_file_is_read() {
    let slos = parse(GOOD, "slo.yaml").unwrap();
    assert_eq!(slos.len(), 1);
    assert_eq!((slos[0].name.as_str(), slos[0].service.as_str()), ("transcode-first-byte", "transcoder"));
    assert_eq!(slos[0].route.as_deref(), Some("POST /api/v1/transcode"));
    assert!((slos[0].target - 0.95).abs() < 1e-12);
    assert_eq!(slos[0].window, 3_600_000_000_000);
}

#[test]
fn several_documents_keep_their_lines() {
    let second = GOOD.replace("transcode-first-byte", "other").replace("target: 0.95", "targetPercent: 99.9");
    let both = format!("---\n# the first\n{GOOD}---\n{second}");
    let slos = parse(&both, "slo.yaml").unwrap();
    assert_eq!(slos.len(), 2);
    assert!((slos[1].target - 0.999).abs() < 1e-12);
    let wrong = both.replace("targetPercent: 99.9", "targetPercent: 101");
    assert_eq!(refused(&wrong), "slo.yaml:33: spec.objectives[0].targetPercent: 101 is not between 0 and 100");
    assert_eq!(
        refused(&format!("{GOOD}---\n{GOOD}")),
        "slo.yaml:19: metadata.name: \"transcode-first-byte\" is used twice"
    );
}

#[test]
fn what_is_wrong_is_told_with_line_and_field() {
    let cases = [
        ("target: 0.95", "target: 1.7", "slo.yaml:15: spec.objectives[0].target: 1.7 is not between 0 and 1"),
        ("target: 0.95", "target: .nan", "slo.yaml:15: spec.objectives[0].target: NaN is not between 0 and 1"),
        ("target: 0.95", "target: high", "slo.yaml:15: spec.objectives[0].target: "),
        ("{target: 0.95}", "", "slo.yaml:15: spec.objectives: exactly one is supported"),
        ("{target: 0.95}", "{}", "slo.yaml:15: spec.objectives[0]: exactly one of target and targetPercent"),
        ("openslo/v1", "openslo/v2", "slo.yaml:1: apiVersion: \"openslo/v2\" is not supported"),
        ("kind: SLO", "kind: Service", "slo.yaml:2: kind: \"Service\" is not supported"),
        ("Occurrences", "Timeslices", "slo.yaml:14: spec.budgetingMethod: "),
        ("isRolling: true", "isRolling: false", "slo.yaml:13: spec.timeWindow[0].isRolling: "),
        ("duration: 1h", "duration: soon", "slo.yaml:13: spec.timeWindow[0].duration: "),
        ("<= 1s", "about 1s", "slo.yaml:11: spec.indicator.spec.ratioMetric.good.metricSource.spec.first_byte: "),
        ("\"< 500\"", "\"< 5000\"", "slo.yaml:11: spec.indicator.spec.ratioMetric.good.metricSource.spec.status: "),
        (
            "first_byte:",
            "firstbyte:",
            "slo.yaml:11: spec.indicator.spec.ratioMetric.good.metricSource.spec.firstbyte: ",
        ),
        ("  service: transcoder", "  servce: transcoder", "slo.yaml:5: spec.servce: "),
        ("  service: transcoder\n", "", "spec: "),
        ("service: transcoder", "service: \"\"", "slo.yaml:5: spec.service: must have"),
        ("counter: true", "counter: false", "slo.yaml:10: spec.indicator.spec.ratioMetric.counter: "),
        ("total: {metricSource: {type: snowshed", "total: {metricSource: {type: prometheus", "slo.yaml:12: "),
        ("route: \"POST /api/v1/transcode\"}}}", "route: \"GET /\"}}}", "slo.yaml:11: "),
        ("kind: SLO", "kind: SLO\nkind: SLO", "slo.yaml:3: "),
        ("kind: SLO", "kind: [", "slo.yaml:"),
    ];
    for (from, to, wanted) in cases {
        assert!(GOOD.contains(from), "{from:?} is not in the file");
        let told = refused(&GOOD.replace(from, to));
        assert!(told.starts_with("slo.yaml:") && told.contains(wanted), "{to:?}\n told   {told}\n wanted {wanted}");
        assert!(!told.contains('\n'), "one line: {told}");
    }
    assert_eq!(refused(""), "slo.yaml:1: no objective in it");
    assert_eq!(refused("# nothing\n---\n"), "slo.yaml:1: no objective in it");
}

/// A small generator (xorshift): tests must be the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

#[test]
fn mangled_files_never_panic() {
    let mut random = Random(0x5eed);
    let pieces = [
        "---\n",
        "{",
        "}",
        "[",
        "]",
        ":",
        "&a ",
        "*a",
        "!!binary ",
        "|\n",
        "\0",
        "é",
        "- ",
        "\t",
        "<<: ",
        "1e999",
        "~",
        "'",
        "\"",
        "%",
    ];
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..4_000 {
        let mut text: Vec<char> = GOOD.chars().collect();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            match random.below(3) {
                0 => drop(text.drain(at..(at + random.below(40)).min(text.len()))),
                1 => drop(text.splice(at..at, pieces[random.below(pieces.len())].chars()).count()),
                _ => text[at] = char::from(u8::try_from(32 + random.below(95)).unwrap()),
            }
        }
        match parse(&text.into_iter().collect::<String>(), "f") {
            Ok(_) => taken += 1,
            Err(error) => {
                assert!(error.line >= 1 && !error.problem.is_empty());
                refused += 1;
            }
        }
    }
    assert!(taken > 20 && refused > 2_000, "{taken} taken, {refused} refused: the mangling is off");
}

#[test]
fn bombs_are_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for n in 0..9 {
        let (name, last) = (char::from(b'b' + n), char::from(b'a' + n));
        text.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 9].join(",")));
    }
    refused(&text);
    refused(&"[".repeat(100_000));
    refused(&"x".repeat(2 << 20));
}
