//! Streams that go on while long prompts are computed: task 1.5 on a real engine.

use std::time::Duration;

use serving::EventKind;
use testbed::{Answer, Client, Prompt, expect, expect_eq, note, start, unknown};

use super::{SHARED, continuous, first, question, texts, tokens};

/// Streams that decode while documents arrive.
const TALKERS: usize = 2;
const DOCUMENTS: usize = 3;
/// Tokens that a document has at least; it fits into one step of the fixed budget.
const DOCUMENT_TOKENS: usize = 900;

/// Talkers that outlast all documents, and documents that come one after the other.
struct Interrupted {
    prompts: Vec<Prompt>,
}

/// What the documents did to the talkers.
struct Interruption {
    answers: Vec<Answer>,
    /// For each document, the tokens that the talkers got while its prompt was computed.
    between: Vec<usize>,
    /// For each document, the longest that a talker waited for a token meanwhile.
    longest: Vec<Duration>,
    /// The median time between two tokens of a talker.
    usual: Duration,
}

impl Interrupted {
    /// `a_token` is what the engine needs for a token of each talker.
    fn new(client: &Client, a_token: Duration, patience: u32) -> Self {
        let piece = client.complete(&Prompt::new(SHARED, 1)).usage.prompt_tokens;
        let text = SHARED.repeat(DOCUMENT_TOKENS.div_ceil(piece));
        let pause = Duration::from_millis(50) * patience;
        let time = pause * 2 * (DOCUMENTS as u32 + 1);
        let tokens = (time.as_nanos() / a_token.as_nanos()).clamp(80, 1000) as usize;
        let mut prompts: Vec<Prompt> = (0..TALKERS).map(|index| question(index, tokens)).collect();
        prompts.extend((1..=DOCUMENTS as u32).map(|index| {
            // Different from its first token on: no two share a prefix.
            let document = Prompt::new(format!("{index}. {text}"), 2);
            Prompt { delay: pause * (index + 1), ..document }
        }));
        Self { prompts }
    }

    /// Runs it. `None` where a document was not computed while all talkers decoded.
    fn run(&self, client: &Client) -> Option<Interruption> {
        let answers = client.complete_all(&self.prompts);
        let timelines = client.timelines(&answers);
        let (talkers, documents) = timelines.split_at(TALKERS);
        let talkers: Vec<Vec<Duration>> = talkers.iter().map(|t| tokens(t).collect()).collect();
        let (mut between, mut longest) = (Vec::new(), Vec::new());
        for document in documents {
            let began = first(document, EventKind::Scheduled)?;
            let ended = first(document, EventKind::PrefillDone)?;
            let decoding = |times: &Vec<Duration>| {
                times.first().is_some_and(|first| *first < began)
                    && times.last().is_some_and(|last| *last > ended)
            };
            if !talkers.iter().all(decoding) {
                return None;
            }
            let inside = |time: &&Duration| (began..ended).contains(*time);
            between.push(talkers.iter().flatten().filter(inside).count());
            let gaps = talkers.iter().flat_map(|times| times.windows(2));
            let during = gaps.filter(|gap| gap[1] > began && gap[0] < ended);
            longest.push(during.map(|gap| gap[1] - gap[0]).max()?);
        }
        let gaps = talkers.iter().flat_map(|times| times.windows(2));
        let mut gaps: Vec<Duration> = gaps.map(|gap| gap[1] - gap[0]).collect();
        gaps.sort_unstable();
        let usual = gaps[gaps.len() / 2];
        Some(Interruption { answers, between, longest, usual })
    }
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_5_keeps_streams_moving_while_documents_arrive() {
    let spec = continuous("contiguous").with("max-num-batched-tokens", 2048);
    let client = start(&spec);
    let probe = client.timelines(&[client.complete(&question(0, 17))]).remove(0);
    let gaps = tokens(&probe).zip(tokens(&probe).skip(1)).map(|(one, next)| next - one);
    let a_token = gaps.min().unwrap_or_default().max(Duration::from_micros(20));
    let tries = [1, 2, 4].map(|patience| Interrupted::new(&client, a_token, patience));
    let measured = tries.iter().find_map(|load| Some((load, load.run(&client)?)));
    let Some((load, fixed)) = measured else {
        unknown("the documents did not arrive while the others decoded: the machine is too busy")
    };
    drop(client);
    // What is promised is set by what this machine does: an eighth of what a whole document takes.
    let freeze = fixed.longest.iter().min().copied().unwrap_or_default();
    let slo = fixed.usual + freeze.saturating_sub(fixed.usual) / 8;
    if freeze < fixed.usual * 4 {
        unknown(format!("a document takes {freeze:?}, a decode {:?}: too close", fixed.usual));
    }
    let client = start(&spec.with("tpot-slo", slo.as_secs_f64() * 1e3));
    let Some(adaptive) = load.run(&client) else {
        unknown("the documents did not arrive while the others decoded: the machine is too busy")
    };
    let sum = |run: &Interruption| run.between.iter().sum::<usize>();
    note(format!(
        "{DOCUMENTS} documents of {DOCUMENT_TOKENS} tokens and more: {TALKERS} streams got {} tokens meanwhile \
         and waited {:.0?} at most; with a fixed budget {} tokens and {:.0?} (SLO {slo:.0?})",
        sum(&adaptive),
        adaptive.longest.iter().max().copied().unwrap_or_default(),
        sum(&fixed),
        fixed.longest.iter().max().copied().unwrap_or_default(),
    ));
    expect_eq(
        "the same prompts, the same greedy answers",
        texts(&fixed.answers),
        texts(&adaptive.answers),
    );
    for (index, (between, longest)) in adaptive.between.iter().zip(&adaptive.longest).enumerate() {
        // Tokens are counted, so they judge. Where the machine is faster now than before, a
        // document may need fewer chunks: then time may speak for the learner, never against.
        let moving = *between >= 4 * TALKERS || *longest <= slo;
        let context = format!("document {index}, SLO {slo:.0?} of {freeze:.0?} in one piece");
        let expected = format!("{} tokens or more of the other streams meanwhile", 4 * TALKERS);
        expect(context, moving, expected, format!("{between}, and a gap of {longest:.0?}"));
    }
}
