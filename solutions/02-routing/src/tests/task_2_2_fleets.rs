//! Checks of task 2.2 on fleets: what affinity is worth, and what it must not cost.

use std::time::Duration;

use rand::Rng;
use routing::Policy;
use simulation::{Arrival, Report};
use testbed::{expect, note, rng, seed};

use super::fleet::{SMALL, about_documents, fleet, goodput, hit_rate, serve};
use crate::{LeastRequest, Limits, LoadAware, Picker, PrefixAware};

/// Between two scrapes.
const SCRAPES: Duration = Duration::from_millis(50);

fn run(policy: impl Policy + 'static, arrivals: Vec<Arrival>) -> Report {
    serve(fleet(4, SMALL, policy).with_scrapes_every(SCRAPES), arrivals)
}

fn both() -> PrefixAware {
    PrefixAware::new(Limits::for_scrapes_every(SCRAPES), seed())
}

/// Forty documents: twice what one replica can keep, half of what four can.
fn forty(rate: f64) -> Vec<Arrival> {
    about_documents(800, rate, &mut rng("forty"), |rng| rng.random_range(0..40))
}

/// One document that everybody asks about.
fn one(rate: f64) -> Vec<Arrival> {
    about_documents(500, rate, &mut rng("one"), |_| 0)
}

#[test]
fn task_2_2_shares_the_documents_out_among_the_caches() {
    let (blind, aware) = (run(LeastRequest::new(seed()), forty(60.0)), run(both(), forty(60.0)));
    let (without, with) = (hit_rate(&blind), hit_rate(&aware));
    note(format!("forty documents: hit rate {without:.2} by load alone, {with:.2} with affinity"));
    expect("forty documents of 2000 tokens: hit rate", with > 0.8, "above 0.8", with);
    expect(
        "forty documents: hit rate",
        with > without + 0.2,
        format!("above {without:.2} + 0.2"),
        with,
    );
    let ttft = |report: &Report| report.summary(&super::fleet::slo()).ttft.mean.as_secs_f64();
    let (without, with) = (ttft(&blind), ttft(&aware));
    let faster = with < without / 1.8;
    expect("forty documents: mean TTFT in s", faster, format!("at most {without:.4} / 1.8"), with);
}

#[test]
fn task_2_2_serves_more_where_prompts_share_their_beginnings() {
    let (blind, aware) = (run(LeastRequest::new(seed()), forty(120.0)), run(both(), forty(120.0)));
    let (without, with) = (goodput(&blind), goodput(&aware));
    note(format!(
        "at 120 requests a second: goodput {without:.2} by load alone, {with:.2} with affinity"
    ));
    let context = "forty documents, 120 requests a second: goodput, refused ones included";
    expect(context, with > 0.9, "above 0.9", with);
    expect(context, with > without + 0.2, format!("above {without:.2} + 0.2"), with);
}

#[test]
fn task_2_2_does_not_pile_a_hot_document_up_on_one_replica() {
    let (stuck, aware) = (run(PrefixAware::prefix_only(seed()), one(60.0)), run(both(), one(60.0)));
    let (without, with) = (goodput(&stuck), goodput(&aware));
    note(format!("one hot document: goodput {without:.2} by prefix alone, {with:.2} with load"));
    expect("everybody asks about one document: goodput", with > 0.97, "above 0.97", with);
    let counts: Vec<usize> = (0..4)
        .map(|replica| aware.requests.iter().filter(|r| r.replica == Some(replica)).count())
        .collect();
    let shared = counts.iter().all(|count| *count > 60);
    expect(
        "everybody asks about one document: requests of each replica",
        shared,
        "more than 60 of 500",
        format!("{counts:?}"),
    );
    let hits = hit_rate(&aware);
    expect("four caches hold it: hit rate", hits > 0.85, "above 0.85", hits);
}

#[test]
fn task_2_2_costs_nothing_where_nothing_is_shared() {
    let unique = || {
        let mut document = 0;
        about_documents(500, 50.0, &mut rng("unique"), move |_| {
            document += 1;
            document
        })
    };
    let limits = Limits::for_scrapes_every(SCRAPES);
    let load = goodput(&run(LoadAware::new(limits, Picker::MaxScore, seed()), unique()));
    let aware = goodput(&run(both(), unique()));
    let context = "no two prompts alike: goodput";
    expect(
        context,
        aware > load - 0.02,
        format!("above {load:.3} - 0.02, as without affinity"),
        aware,
    );
}

#[test]
fn task_2_2_remembers_where_it_sent_a_prompt_before_the_answer_comes() {
    // Bursts of eight requests for one document within 7 ms, which is before the first of them has a token.
    let burst = |document: u64| {
        let at = Duration::from_millis(300 * document);
        (0..8).map(move |n| (at + Duration::from_millis(n), document))
    };
    let bursts: Vec<(Duration, u64)> = (0..40).flat_map(burst).collect();
    let mut documents =
        bursts.iter().map(|(_, document)| *document).collect::<Vec<_>>().into_iter();
    let mut arrivals = about_documents(bursts.len(), 1.0, &mut rng("bursts"), move |_| {
        documents.next().unwrap_or(0)
    });
    for (arrival, (at, _)) in arrivals.iter_mut().zip(&bursts) {
        arrival.at = *at;
    }
    let report = run(both(), arrivals);
    let together = report
        .requests
        .chunks(8)
        .filter(|burst| burst.iter().all(|request| request.replica == burst[0].replica))
        .count();
    expect(
        "40 bursts of 8 requests for one document: bursts on one replica",
        together >= 36,
        "at least 36",
        together,
    );
}
