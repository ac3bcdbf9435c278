//! What stands in a form: as it comes, or as it was sent and refused.

use std::collections::BTreeMap;

use tollgate_api::Problem;

/// A form that was sent and refused: what was typed stays, and what is wrong stands beside its field.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Which of the page's forms.
    pub form: String,
    /// What it held.
    pub values: BTreeMap<String, String>,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Answered {
    /// What was typed into a field, or what stands in it at first.
    pub(crate) fn value<'a>(sent: &'a Option<Self>, form: &str, field: &str, first: &'a str) -> &'a str {
        let sent = sent.as_ref().filter(|sent| sent.form == form);
        sent.and_then(|sent| sent.values.get(field)).map_or(first, String::as_str)
    }

    /// What is wrong with a field.
    pub(crate) fn wrong<'a>(sent: &'a Option<Self>, form: &str, field: &str) -> Option<&'a str> {
        let problem = sent.as_ref().filter(|sent| sent.form == form).map(|sent| &sent.problem)?;
        (problem.field.as_deref() == Some(field)).then_some(problem.detail.as_str())
    }

    /// What is wrong with the form, and none of its fields is to blame.
    pub(crate) fn failed<'a>(sent: &'a Option<Self>, form: &str) -> Option<&'a str> {
        let sent = sent.as_ref().filter(|sent| sent.form == form)?;
        let blamed = sent.problem.field.as_ref().is_some_and(|field| sent.values.contains_key(field));
        (!blamed).then_some(sent.problem.detail.as_str())
    }
}

/// One of several.
#[derive(Clone, Debug)]
pub struct Choice {
    /// As it is sent.
    pub value: String,
    /// As it is shown.
    pub label: String,
}

/// How a choice is shown; one that is not among some is shown as it is sent.
pub(crate) fn name_in<'a>(choices: &'a [Choice], value: &'a str) -> &'a str {
    choices.iter().find(|choice| choice.value == value).map_or(value, |choice| choice.label.as_str())
}

impl Choice {
    /// A choice that is shown as it is sent.
    #[must_use]
    pub fn plain(value: &str) -> Self {
        Self { value: value.to_owned(), label: value.to_owned() }
    }

    /// A choice that is shown by a name.
    #[must_use]
    pub fn pair((value, label): (&str, &str)) -> Self {
        Self { value: value.to_owned(), label: label.to_owned() }
    }
}
