//! "Predict before you code": a question with options or a number, and a folded explanation.
//!
//! The source is a fenced block in TOML:
//!
//! ````text
//! ```quiz
//! question = "How many blocks of 16 tokens hold 50 tokens?"
//! answer = 4
//! unit = "blocks"
//! why = "50 / 16 = 3.125, and a block is not shared with another sequence."
//! ```
//! ````
//!
//! Without JavaScript the explanation is a plain `<details>`. With it, `<quiz-card>` takes an answer first.

use std::fmt::Write;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quiz {
    question: String,
    /// The right number; or with `options` the place of the right one, from 1.
    answer: f64,
    /// How far a number may be off and still count.
    #[serde(default)]
    tolerance: f64,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    options: Vec<String>,
    why: String,
}

/// Markdown with HTML around it.
///
/// # Errors
/// What is wrong with the block, for a warning.
pub(crate) fn quiz(body: &str) -> Result<String, String> {
    let quiz: Quiz = toml::from_str(body).map_err(|cause| cause.message().to_owned())?;
    if !quiz.options.is_empty() {
        let place = quiz.answer;
        if place.fract() != 0.0 || place < 1.0 || place > quiz.options.len() as f64 {
            return Err(format!("answer {place} names none of {} options", quiz.options.len()));
        }
    }
    let kind = if quiz.options.is_empty() { "number" } else { "choice" };
    let mut out = format!(
        "<quiz-card data-kind=\"{kind}\" data-answer=\"{}\" data-tolerance=\"{}\" data-unit=\"{}\">\n\n",
        quiz.answer,
        quiz.tolerance,
        quiz.unit.replace('"', "&quot;"),
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "**Predict.** {}\n", quiz.question.trim());
    for option in &quiz.options {
        let _ = writeln!(out, "1. {}", option.trim());
    }
    let answer = if quiz.options.is_empty() {
        format!("{} {}", quiz.answer, quiz.unit).trim().to_owned()
    } else {
        format!("answer {}", quiz.answer)
    };
    let _ = write!(
        out,
        "\n<details>\n<summary>Answer and why</summary>\n\n**{answer}.** {}\n\n</details>\n\n</quiz-card>\n",
        quiz.why.trim()
    );
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_unit_and_tolerance() {
        let out = quiz("question='Q?'\nanswer=2.5\ntolerance=0.1\nunit='ms'\nwhy='W.'").unwrap();
        assert!(out.contains("data-kind=\"number\" data-answer=\"2.5\" data-tolerance=\"0.1\""));
        assert!(out.contains("**2.5 ms.** W."));
    }

    #[test]
    fn an_answer_must_be_one_of_the_options() {
        let text = |answer| format!("question='Q'\nanswer={answer}\noptions=['a','b']\nwhy='W'");
        assert!(quiz(&text(2)).unwrap().contains("1. b"));
        assert!(quiz(&text(3)).unwrap_err().contains("none of 2 options"));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        assert!(quiz("question='Q'\nanswer=1\nwhi='W'").is_err());
    }
}
