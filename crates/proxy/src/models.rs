//! `/v1/models`, where whoever decides knows which models there are.

use protocol::openai::{ModelCard, ModelList, Problem};
use routing::Model;

use crate::answer::Answer;

const LIST: &str = "/v1/models";

/// Whether a path asks for models, or for one.
pub(crate) fn is_asked(path: &str) -> bool {
    path.strip_prefix(LIST).is_some_and(|rest| rest.is_empty() || name(rest).is_some())
}

fn name(rest: &str) -> Option<&str> {
    rest.strip_prefix('/').filter(|name| !name.is_empty())
}

/// What is known of all of them, or of the one that is named.
pub(crate) fn answer(path: &str, models: Vec<Model>, created: u64) -> Answer {
    let card = |model: &Model| {
        let context = usize::try_from(model.context_tokens).unwrap_or(usize::MAX);
        ModelCard::new(&model.name, created, context)
    };
    let Some(name) = path.strip_prefix(LIST).and_then(name) else {
        return Answer::json(&ModelList::all(models.iter().map(card).collect()));
    };
    if let Some(model) = models.iter().find(|model| model.name == name) {
        return Answer::json(&card(model));
    }
    let problem = Problem {
        message: format!("The model `{name}` is not there. GET {LIST} lists those that are."),
        kind: "invalid_request_error".into(),
        param: Some("model".into()),
        code: Some("model_not_found".into()),
    };
    Answer::problem(404, problem)
}
