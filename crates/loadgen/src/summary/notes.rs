//! What a reader of the figures should know before believing them.

use super::Summary;

/// Lateness in milliseconds, at the 99th percentile, that no longer vanishes beside a server's latency.
const LATE_MS: f64 = 2.0;
/// Share of a processor at which a worker has no reserve.
const BUSY: f64 = 0.9;
/// Share of coalesced pieces at which times between tokens are no longer those of the server.
const COALESCED: f64 = 0.1;
/// Relative difference of lengths, rates and irregularities that is worth a word.
const OFF: f64 = 0.1;
/// Relative difference between the arrivals that were drawn and those that were sent that is worth a word.
const ARRIVALS_OFF: f64 = 0.01;
/// Requests below which a 99th percentile is one request's luck.
const FEW: usize = 100;

pub(super) fn of(summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    generator(summary, &mut notes);
    server(summary, &mut notes);
    notes
}

fn generator(summary: &Summary, notes: &mut Vec<String>) {
    if let Some(late) = summary.arrivals.lateness_ms.filter(|late| late.p99 > LATE_MS) {
        notes.push(format!(
            "the generator was late: {:.1} ms at p99, {:.1} ms at most. Latencies from `sent` and \
             from `due` differ by that; use --threads, or another machine",
            late.p99, late.max
        ));
    }
    if let Some(share) = summary.generator.busiest_worker.filter(|share| *share > BUSY) {
        notes.push(format!(
            "a worker of the generator used {:.0} % of a processor: the figures may be the \
             generator's, not the server's. Use --threads, or a lower rate",
            100.0 * share
        ));
    }
    if let (Some(drawn), Some(sent)) = (summary.arrivals.scheduled, summary.arrivals.sent)
        && summary.run.r#loop == "open"
    {
        let off = |a: f64, b: f64| (a - b).abs() > ARRIVALS_OFF * b.max(0.1);
        if off(sent.per_s, drawn.per_s) || off(sent.gap_cv, drawn.gap_cv) {
            notes.push(format!(
                "requests left at {:.2}/s with a gap CV of {:.3}; due were {:.2}/s with {:.3}",
                sent.per_s, sent.gap_cv, drawn.per_s, drawn.gap_cv
            ));
        }
    }
    if let Some(limit) = summary.generator.max_in_flight_lowered_to {
        notes.push(format!(
            "the system allows {limit} connections at once (ulimit -n); more were asked for"
        ));
    }
    let unsent = summary.errors.get("not_sent").map_or(0, |errors| errors.count);
    if unsent > 0 {
        notes.push(format!(
            "{unsent} requests were not sent, because --max-concurrency was reached: the server \
             saw less load than was asked for"
        ));
    }
    if summary.requests.unfinished > 0 {
        notes.push(format!(
            "{} requests were in flight when the run was stopped; they are in no figure, and were \
             probably slow ones",
            summary.requests.unfinished
        ));
    }
}

fn server(summary: &Summary, notes: &mut Vec<String>) {
    let answers = &summary.answers;
    if answers.coalesced_share > COALESCED {
        notes.push(format!(
            "{:.0} % of the tokens came together with the one before: times between tokens (ITL) \
             say little; use TPOT",
            100.0 * answers.coalesced_share
        ));
    }
    let ok = summary.requests.ok;
    let off = |seen: f64, asked: f64| asked > 0.0 && (seen / asked - 1.0).abs() > OFF;
    if answers.output_tokens > 0.0 && off(answers.input_tokens, answers.input_asked) {
        notes.push(format!(
            "prompts had {:.1} tokens on average, {:.1} were asked for: words are not exactly \
             tokens, and chats have a frame; --prompt-token-ids is exact",
            answers.input_tokens, answers.input_asked
        ));
    }
    if answers.output_tokens > 0.0 && off(answers.output_tokens, answers.output_asked) {
        notes.push(format!(
            "answers had {:.1} tokens on average, {:.1} were asked for: models end when they are \
             done; --ignore-eos asks for the full length",
            answers.output_tokens, answers.output_asked
        ));
    }
    if (1..FEW).contains(&ok) {
        notes.push(format!("{ok} answers are too few for a p99: it is the slowest of them"));
    }
}
