//! What a stream tells is a function of the tokens alone, however they reached it together.

use std::sync::Arc;

use proptest::prelude::*;
use serving::TokenLogprob;

use super::*;
use crate::tokens::tests::Bytes;

/// Every token is one byte of `text`; beside each stands another that was likely too.
fn logprobs(text: &str) -> Vec<Logprobs> {
    let at = |token: TokenId| {
        let chosen = TokenLogprob { token, logprob: -0.5 };
        Logprobs { chosen, rank: 1, top: vec![chosen, TokenLogprob { token: 0xA9, logprob: -1.0 }] }
    };
    text.bytes().map(|byte| at(byte.into())).collect()
}

fn teller() -> Teller {
    let parameters = Parameters { top_n_tokens: Some(2), ..Parameters::default() };
    let names = TokenNames { codec: Arc::new(Bytes), as_ids: false };
    Teller { names, prompt: String::new(), tokens: vec![1], parameters, seed: None }
}

/// The events of a text whose tokens reach the stream in flushes of these sizes, the rest in one.
fn told(text: &str, sizes: &[usize]) -> Vec<StreamResponse> {
    let (teller, mut told) = (teller(), Told::default());
    let all = logprobs(text);
    let mut ends: Vec<usize> = sizes
        .iter()
        .scan(0, |end, size| {
            *end += size;
            Some(*end)
        })
        .take_while(|end| *end < all.len())
        .collect();
    ends.push(all.len());
    let mut from = 0;
    let flushes = ends.into_iter().map(|to| {
        let last = to == all.len();
        let end = last.then_some(End::Finished { reason: FinishReason::Length, stop: None });
        let logprobs = all[std::mem::replace(&mut from, to)..to].to_vec();
        // What became certain when is the detokenizer's matter: it comes at the end here.
        let text = if last { text.to_owned() } else { String::new() };
        Flush { text, logprobs, generated: to, end, ..Flush::default() }
    });
    flushes.flat_map(|flush| teller.events(flush, &mut told).unwrap()).collect()
}

proptest! {
    #[test]
    fn any_way_of_flushing_tells_the_same_events(
        text in "[a-cé€😀]{1,12}",
        sizes in prop::collection::vec(1_usize..6, 0..20),
    ) {
        let one_by_one = told(&text, &vec![1; text.len()]);
        prop_assert_eq!(&told(&text, &sizes), &one_by_one);
        let texts: String = one_by_one.iter().map(|event| event.token.text.as_str()).collect();
        prop_assert_eq!(texts, text);
    }
}
