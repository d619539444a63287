//! Why the kernel did not take something, in one line that a person can read.

use std::error::Error;

/// Why a program was not accepted, with what the kernel lacks: it may need that.
pub(super) fn refusal(error: &dyn Error, missing: &[String]) -> String {
    let reason = chain(error);
    if missing.is_empty() { reason } else { format!("{reason}; {}", missing.join(", ")) }
}

/// The beginning of an error, and the line of the verifier's log that says what was refused: the last one before
/// its sums.
fn brief(text: &str) -> String {
    let sums = ["verification time", "stack depth", "processed", "insns processed"];
    let is_sum = |line: &&str| line.trim().is_empty() || sums.iter().any(|sum| line.starts_with(sum));
    let head = text.lines().next().unwrap_or_default();
    let head = head.split_once(" Verifier output").map_or(head, |(head, _)| head);
    match text.lines().rev().find(|line| !is_sum(line)) {
        Some(refused) if text.contains("\nprocessed ") => {
            // A log of one sentence begins on the line that says it is one.
            let refused = refused.split_once("Verifier output: ").map_or(refused, |(_, refused)| refused);
            format!("{head} The verifier: {refused}")
        }
        _ => text.to_owned(),
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let text = brief(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches(". Verifier output:").to_owned();
    // Whatever else is long: its end says what went wrong.
    match text.char_indices().rev().nth(400) {
        Some((at, _)) if text.len() > 600 => format!("…{}", &text[at..]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_the_refusal_is_told() {
        let log = "the BPF_PROG_LOAD syscall failed. Verifier output: 0: R1=ctx()\n197: (61) r1 = *(u32 *)(r2 +0)\n\
                   access beyond the end of member on_cpu\nverification time 6 usec\nstack depth 80\nprocessed 188 insns\n";
        let told = "the BPF_PROG_LOAD syscall failed. The verifier: access beyond the end of member on_cpu";
        assert_eq!(brief(log), told);
        let short = "the BPF_PROG_LOAD syscall failed. Verifier output: access beyond the end of member on_cpu\n\
                     processed 188 insns\n";
        assert_eq!(brief(short), told);
        assert_eq!(brief("no such map"), "no such map");
    }
}
