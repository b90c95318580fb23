//! Chat templates: the Jinja text that turns messages into the prompt a model was trained on.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};
use serving::{ChatMessage, TextError};

use crate::ModelError;

/// The name under which the only template is kept.
const NAME: &str = "chat";

/// A parsed chat template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a template as Hugging Face's `apply_chat_template` does: blocks are trimmed, and Python's
    /// string methods work.
    pub(crate) fn new(source: &str, bos: &str, eos: &str) -> Result<Self, ModelError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| ModelError::Template(error.to_string()))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| ModelError::Template(error.to_string()))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The prompt for these messages, up to where the assistant's answer begins.
    pub(crate) fn render(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        let failed = |error: minijinja::Error| TextError::Template(error.to_string());
        let messages: Vec<_> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template
            .render(context! {
                messages,
                add_generation_prompt => true,
                bos_token => self.bos.as_str(),
                eos_token => self.eos.as_str(),
            })
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: &str) -> Vec<ChatMessage> {
        vec![ChatMessage { role: "user".into(), content: content.into() }]
    }

    #[test]
    fn pythons_string_methods_and_the_special_tokens_work() {
        let source = "{{ bos_token }}{% for m in messages %}\n  {% if m.role.startswith('u') %}\n\
                      {{ m['content'].strip() | upper }}{% endif %}\n{% endfor %}{{ eos_token }}";
        let template = ChatTemplate::new(source, "<s>", "</s>").unwrap();
        assert_eq!(template.render(&user(" hi ")).unwrap(), "<s>HI</s>");
    }

    #[test]
    fn a_template_can_refuse_messages() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let error = ChatTemplate::new(source, "", "").unwrap().render(&user("")).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn a_broken_template_is_refused_when_it_is_loaded() {
        let error = ChatTemplate::new("{% for %}", "", "").unwrap_err();
        assert!(matches!(error, ModelError::Template(_)), "{error}");
    }
}
