//! Label selectors: the text form of requests, and the JSON form of objects.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::lexer::{Token, tokens};
use crate::names;
use crate::status::Status;

/// What a requirement says about a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Its value is one of these.
    In,
    /// It is absent, or its value is none of these.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
    /// It is a whole number greater than this.
    Greater,
    /// It is a whole number less than this.
    Less,
}

/// One requirement of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// Of these values.
    pub values: BTreeSet<String>,
}

/// Requirements that must all hold. Without any, everything is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// Nothing is meant: an absent `LabelSelector`.
    nothing: bool,
}

impl LabelSelector {
    /// A selector that means nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// A selector by exact values.
    #[must_use]
    pub fn exactly<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = labels.into_iter().map(|(key, value)| Requirement {
            key: key.to_owned(),
            operator: Operator::In,
            values: BTreeSet::from([value.to_owned()]),
        });
        Self { requirements: requirements.collect(), nothing: false }
    }

    /// Reads the text form, like `app=router,tier in (a,b),!canary`.
    ///
    /// # Errors
    /// 400 in the API server's words.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let parser = &mut Parser { tokens: tokens(text), at: 0 };
        let requirements = parser.all().map_err(Status::bad_request)?;
        Ok(Self { requirements, nothing: false })
    }

    /// Reads the JSON form of `meta/v1` `LabelSelector`: `matchLabels`, `matchExpressions`. Absent or null means nothing,
    /// `{}` means everything. A requirement that cannot be read matches nothing: such objects do not pass validation.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        let Some(map) = json.as_object() else { return Self::nothing() };
        let labels = map.get("matchLabels").and_then(Value::as_object);
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let mut requirements: Vec<Requirement> = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: BTreeSet::from([text(value)]),
            })
            .collect();
        let expressions = map.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            match Requirement::from_json(expression) {
                Some(requirement) => requirements.push(requirement),
                None => return Self::nothing(),
            }
        }
        Self { requirements, nothing: false }
    }

    /// The requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Everything is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether labels satisfy it: a JSON object of texts; null for none.
    #[must_use]
    pub fn matches_labels(&self, labels: &Value) -> bool {
        match labels.as_object() {
            Some(labels) => self.matches_map(labels),
            None => self.matches_map(&Map::new()),
        }
    }

    /// The same, of labels that are a map already.
    #[must_use]
    pub fn matches_map(&self, labels: &Map<String, Value>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.holds(labels))
    }

    /// Whether an object's labels satisfy it.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }
}

impl Requirement {
    /// Reads the JSON form: an item of `matchExpressions`, of a label selector or of a node selector. `None` for an operator
    /// that does not exist.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let operator = match json["operator"].as_str()? {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Greater,
            "Lt" => Operator::Less,
            _ => return None,
        };
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let values = json["values"].as_array().into_iter().flatten().map(text).collect();
        Some(Self { key: text(&json["key"]), operator, values })
    }

    /// Whether labels satisfy it.
    #[must_use]
    pub fn holds(&self, labels: &Map<String, Value>) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = |than: fn(&i64, &i64) -> bool| {
            let is = value.and_then(|value| value.parse::<i64>().ok());
            let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
            is.zip(bound).is_some_and(|(is, bound)| than(&is, &bound))
        };
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => number(i64::gt),
            Operator::Less => number(i64::lt),
        }
    }
}

/// Whether labels hold each of the pairs wanted: what a service's or a replication's plain map of labels means.
#[must_use]
pub fn has_all(wanted: &Map<String, Value>, labels: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, one) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let list = values.join(",");
        match operator {
            Operator::In if values.len() == 1 => write!(f, "{key}={list}"),
            Operator::NotIn if values.len() == 1 => write!(f, "{key}!={list}"),
            Operator::In => write!(f, "{key} in ({list})"),
            Operator::NotIn => write!(f, "{key} notin ({list})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Greater => write!(f, "{key}>{list}"),
            Operator::Less => write!(f, "{key}<{list}"),
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn all(&mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(found),
                Token::Word(_) | Token::Not => {
                    let one = self.requirement();
                    found.push(one.map_err(|why| format!("unable to parse requirement: {why}"))?);
                    match self.next() {
                        Token::End => return Ok(found),
                        Token::Comma => match self.peek() {
                            Token::Word(_) | Token::Not => {}
                            other => {
                                let text = other.text();
                                return Err(format!(
                                    "found '{text}', expected: identifier after ','"
                                ));
                            }
                        },
                        other => {
                            let text = other.text();
                            return Err(format!(
                                "found '{text}', expected: ',' or 'end of string'"
                            ));
                        }
                    }
                }
                other => {
                    let text = other.text();
                    return Err(format!(
                        "found '{text}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Not;
        if absent {
            self.at += 1;
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        if let Some(why) = names::qualified_name(key).first() {
            return Err(format!("<nil>: Invalid value: {key:?}: {why}"));
        }
        let known = |operator, values: BTreeSet<String>| {
            Ok(Requirement { key: key.to_owned(), operator, values })
        };
        if absent {
            return known(Operator::DoesNotExist, BTreeSet::new());
        }
        let operator = match self.peek() {
            Token::End | Token::Comma => return known(Operator::Exists, BTreeSet::new()),
            Token::Equals | Token::DoubleEquals | Token::Word("in") => Operator::In,
            Token::NotEquals | Token::Word("notin") => Operator::NotIn,
            Token::Greater => Operator::Greater,
            Token::Less => Operator::Less,
            other => {
                let text = other.text();
                return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let listed = matches!(self.next(), Token::Word(_));
        let values = if listed { self.list()? } else { BTreeSet::from([self.value()?]) };
        check(key, operator, &values)?;
        known(operator, values)
    }

    /// One value after `=`: nothing is an empty one.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Word(value) => {
                self.at += 1;
                Ok(value.to_owned())
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// Values in parentheses.
    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Open => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek() {
                Token::Word(value) => {
                    self.at += 1;
                    value
                }
                Token::Comma | Token::Close => "",
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        other.text()
                    ));
                }
            };
            values.insert(value.to_owned());
            match self.next() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

fn check(key: &str, operator: Operator, values: &BTreeSet<String>) -> Result<(), String> {
    let compares = matches!(operator, Operator::Greater | Operator::Less);
    for (i, value) in values.iter().enumerate() {
        if compares && value.parse::<i64>().is_err() {
            return Err(format!(
                "values[{i}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
        if let Some(why) = names::label_value(value).first() {
            return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {why}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Text, and what kube-apiserver 1.34 answers; empty: it takes it.
    const ANSWERS: &[(&str, &str)] = &[
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in ()", ""),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=b,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a==b,c", ""),
        ("a>5", ""),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("a in (b,c),!d", ""),
        ("a in (,b)", ""),
        ("(a)", "found '(', expected: !, identifier, or 'end of string'"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("in=1", ""),
        ("a=", ""),
        ("a,,b", "found ',', expected: identifier after ','"),
        (" a = b ", ""),
        ("a!b", "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt"),
        ("", ""),
    ];

    #[test]
    fn texts_are_taken_and_refused_as_the_real_server_does() {
        for (text, answer) in ANSWERS {
            let parsed =
                LabelSelector::parse(text).err().map_or(String::new(), |error| error.message);
            assert_eq!(parsed, *answer, "{text}");
        }
        let wrong = LabelSelector::parse("a=-b").unwrap_err().message;
        assert!(wrong.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be"));
    }

    #[test]
    fn sets_are_matched_with_absent_labels_in_mind() {
        let holds = |text: &str, labels: Value| {
            LabelSelector::parse(text).unwrap().matches(&json!({"metadata": {"labels": labels}}))
        };
        assert!(holds("a notin (x,y)", json!({})));
        assert!(!holds("a in (x,y)", json!({})));
        assert!(holds("a in (x,y),!b", json!({"a": "y"})));
        assert!(holds("n>3,n<5", json!({"n": "4"})));
        assert!(!holds("n>3", json!({"n": "many"})));
        assert!(holds("a!=x", json!(null)));
    }

    #[test]
    fn an_absent_selector_means_nothing_and_an_empty_one_everything() {
        let pod = json!({"metadata": {"labels": {"a": "b"}}});
        assert!(!LabelSelector::from_json(&Value::Null).matches(&pod));
        assert!(LabelSelector::from_json(&json!({})).matches(&pod));
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]});
        assert!(LabelSelector::from_json(&selector).matches(&pod));
        assert_eq!(LabelSelector::from_json(&selector).to_string(), "a=b,!c");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-c=!<>,() in.-]{0,40}") {
            let _: Result<_, _> = LabelSelector::parse(&text);
        }

        #[test]
        fn what_is_printed_reads_back_the_same(
            parts in prop::collection::vec(("[a-z]{1,4}", 0..6_u8, prop::collection::btree_set("[a-z]{1,3}", 2..4), -9..9_i64), 0..5)
        ) {
            let requirements = parts.into_iter().map(|(key, operator, values, number)| {
                let (operator, values) = match operator {
                    0 => (Operator::In, values),
                    1 => (Operator::NotIn, values),
                    2 => (Operator::Exists, BTreeSet::new()),
                    3 => (Operator::DoesNotExist, BTreeSet::new()),
                    4 => (Operator::Greater, BTreeSet::from([number.unsigned_abs().to_string()])),
                    _ => (Operator::Less, BTreeSet::from([number.unsigned_abs().to_string()])),
                };
                Requirement { key, operator, values }
            });
            let selector = LabelSelector { requirements: requirements.collect(), nothing: false };
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
