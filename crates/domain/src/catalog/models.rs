//! What calls of language models cost: the catalog's `[[models]]`, in money for each million tokens.

use serde::Deserialize;

use super::read::{amount, repeated, some_amount, text_line};
use super::{Catalog, CatalogError, HasId};
use crate::Amount;

/// Prices are for so many tokens, so that none of them is rounded to nothing.
const TOKENS_OF_A_PRICE: i128 = 1_000_000;

/// The smallest amount: what a call counts that costs less, or that is let through without a price.
const LEAST: Amount = Amount::from_billionths(1);

/// Where the prices of models come from, and what becomes of calls of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrices {
    /// Which table they were taken from.
    pub source: Option<String>,
    /// The day of that table.
    pub date: Option<String>,
    /// What becomes of a call of a model without a price.
    #[serde(default)]
    pub unknown_models: UnknownModels,
    /// The model whose prices such a call is estimated by.
    pub estimate_as: Option<String>,
}

/// What becomes of a call of a model without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownModels {
    /// It is denied.
    #[default]
    Deny,
    /// It is priced as another model.
    Estimate,
    /// It counts the smallest amount, and is marked as unpriced.
    Allow,
}

/// What calls of a model cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The model, as callers name it.
    pub id: String,
    /// Its prices: one for each service tier and size of the prompt.
    pub rates: Vec<Rate>,
}

impl HasId for ModelPrice {
    type Id = String;

    fn id(&self) -> &String {
        &self.id
    }
}

/// Prices of a million tokens of each kind. A kind that is not named costs what the tokens cost that it is a part of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How fast the answer is due.
    #[serde(default)]
    pub tier: ServiceTier,
    /// In force for prompts of more tokens than this.
    #[serde(default)]
    pub above: u64,
    /// Tokens of the prompt.
    #[serde(deserialize_with = "amount")]
    pub input: Amount,
    /// Tokens of the answer; without it, answers have no price.
    #[serde(default, deserialize_with = "some_amount")]
    pub output: Option<Amount>,
    /// Tokens of the prompt that were read from the provider's cache.
    #[serde(default, deserialize_with = "some_amount")]
    pub cached_input: Option<Amount>,
    /// Tokens of the prompt that were written to it.
    #[serde(default, deserialize_with = "some_amount")]
    pub cache_write: Option<Amount>,
    /// Tokens of sound in the prompt.
    #[serde(default, deserialize_with = "some_amount")]
    pub audio_input: Option<Amount>,
    /// Tokens of the answer that the model thought with.
    #[serde(default, deserialize_with = "some_amount")]
    pub reasoning: Option<Amount>,
    /// Tokens of sound in the answer.
    #[serde(default, deserialize_with = "some_amount")]
    pub audio_output: Option<Amount>,
}

/// How fast an answer is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// At once.
    #[default]
    Standard,
    /// Within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
}

impl ServiceTier {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

/// A call of a model: how many tokens of each kind. The kinds of the prompt are parts of `input`, those of the answer of `output`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelCall {
    /// The model.
    pub model: String,
    /// How fast its answer is due.
    pub tier: ServiceTier,
    /// Tokens of the prompt, all of them.
    pub input: u64,
    /// Of those, read from the provider's cache.
    pub cached_input: u64,
    /// Of those, written to it.
    pub cache_write: u64,
    /// Of those, of sound.
    pub audio_input: u64,
    /// Tokens of the answer, all of them.
    pub output: u64,
    /// Of those, what the model thought with.
    pub reasoning: u64,
    /// Of those, of sound.
    pub audio_output: u64,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPrice {
    /// How much, rounded up once.
    pub amount: Amount,
    /// Whose prices it was made of.
    pub by: PricedBy,
}

/// Whose prices the price of a call was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PricedBy {
    /// The model's own.
    Itself,
    /// Those of another one, as the catalog says.
    Another(String),
    /// Nobody's: the catalog lets it through.
    Nobody,
}

/// Why a call has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPrice {
    /// The catalog lacks the model.
    Model,
    /// The model has no price for the service tier.
    Tier,
    /// The model has no price for answers.
    Output,
    /// The parts are more than the whole, or it comes to more than can be counted.
    Tokens,
}

impl Rate {
    /// What so many tokens cost; `None` where it cannot be said.
    fn price(&self, call: &ModelCall) -> Result<Amount, NoPrice> {
        let output = match self.output {
            None if call.output > 0 => return Err(NoPrice::Output),
            output => output.unwrap_or_default(),
        };
        let parts = |whole: u64, of: [u64; 3]| {
            of.iter().try_fold(whole, |left, part| left.checked_sub(*part)).ok_or(NoPrice::Tokens)
        };
        let plain_input = parts(call.input, [call.cached_input, call.cache_write, call.audio_input])?;
        let plain_output = parts(call.output, [call.reasoning, call.audio_output, 0])?;
        let kinds = [
            (plain_input, self.input),
            (call.cached_input, self.cached_input.unwrap_or(self.input)),
            (call.cache_write, self.cache_write.unwrap_or(self.input)),
            (call.audio_input, self.audio_input.unwrap_or(self.input)),
            (plain_output, output),
            (call.reasoning, self.reasoning.unwrap_or(output)),
            (call.audio_output, self.audio_output.unwrap_or(output)),
        ];
        let sum = kinds.iter().try_fold(0_i128, |sum, (tokens, price)| {
            sum.checked_add(i128::from(*tokens).checked_mul(price.billionths())?)
        });
        let sum = sum.and_then(|sum| sum.checked_add(TOKENS_OF_A_PRICE - 1)).ok_or(NoPrice::Tokens)?;
        Ok(Amount::from_billionths(sum.div_euclid(TOKENS_OF_A_PRICE)))
    }

    fn prices(&self) -> impl Iterator<Item = Amount> {
        let others = [
            self.output,
            self.cached_input,
            self.cache_write,
            self.audio_input,
            self.reasoning,
            self.audio_output,
        ];
        std::iter::once(self.input).chain(others.into_iter().flatten())
    }
}

impl ModelPrice {
    /// What a call of the model costs: by the rate of its tier with the highest bound that its prompt is above.
    fn price(&self, call: &ModelCall) -> Result<Amount, NoPrice> {
        let of_tier = self.rates.iter().filter(|rate| rate.tier == call.tier);
        let in_force = of_tier.filter(|rate| rate.above == 0 || call.input > rate.above);
        in_force.max_by_key(|rate| rate.above).ok_or(NoPrice::Tier)?.price(call)
    }

    pub(super) fn check(&self) -> Result<(), CatalogError> {
        text_line("models", "id", &self.id)?;
        let refuse = |says: &str| Err(CatalogError(format!("model '{}': {says}", self.id)));
        if !self.rates.iter().any(|rate| rate.tier == ServiceTier::Standard && rate.above == 0) {
            return refuse("needs a rate without tier and above");
        }
        let names: Vec<String> =
            self.rates.iter().map(|rate| format!("{} above {}", rate.tier.name(), rate.above)).collect();
        if let Some((_, name)) = repeated(names.iter().map(String::as_str)).next() {
            return refuse(&format!("two rates are for {name}"));
        }
        if self.rates.iter().flat_map(Rate::prices).any(|price| price < Amount::ZERO) {
            return refuse("a price must not be below zero");
        }
        Ok(())
    }
}

impl Catalog {
    /// What a call of a model costs. Less than a billionth counts as one.
    ///
    /// # Errors
    /// [`NoPrice`], unless the catalog says what becomes of a call without a price.
    pub fn price_of(&self, call: &ModelCall) -> Result<CallPrice, NoPrice> {
        let priced = |id: &String, by| {
            let amount = self.models.find(id).ok_or(NoPrice::Model)?.price(call)?;
            let is_nothing = call.input == 0 && call.output == 0;
            Ok(CallPrice { amount: if is_nothing { amount } else { amount.max(LEAST) }, by })
        };
        match priced(&call.model, PricedBy::Itself) {
            Err(NoPrice::Tokens) => Err(NoPrice::Tokens),
            Err(why) => match (self.model_prices.unknown_models, &self.model_prices.estimate_as) {
                (UnknownModels::Allow, _) => Ok(CallPrice { amount: LEAST, by: PricedBy::Nobody }),
                (UnknownModels::Estimate, Some(other)) => priced(other, PricedBy::Another(other.clone())),
                _ => Err(why),
            },
            found => found,
        }
    }

    pub(super) fn check_model_prices(&self) -> Result<(), CatalogError> {
        let ModelPrices { source, date, unknown_models, estimate_as } = &self.model_prices;
        for (field, text) in [("source", source), ("date", date)] {
            text.as_ref().map_or(Ok(()), |text| text_line("model_prices", field, text))?;
        }
        match (unknown_models, estimate_as) {
            (UnknownModels::Estimate, None) => Err(CatalogError(
                "model_prices: unknown_models = \"estimate\" needs estimate_as, the model to estimate by"
                    .to_owned(),
            )),
            (UnknownModels::Estimate, Some(id)) if self.models.find(id).is_none() => {
                Err(CatalogError(format!("model_prices: estimate_as: there is no model '{id}'")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "p"
name = "P"

[[models]]
id = "large"
rates = [
  { input = "2.50", output = 10, cached_input = "1.25", reasoning = 12, audio_input = 40, audio_output = 80 },
  { above = 200000, input = 5, output = 15 },
  { tier = "batch", input = "1.25", output = 5 },
]

[[models]]
id = "embeds"
rates = [{ input = "0.000000001" }]
"#;

    fn catalog(more: &str) -> Catalog {
        Catalog::from_toml(&format!("{CATALOG}{more}")).expect("a catalog")
    }

    fn call(model: &str, input: u64, output: u64) -> ModelCall {
        ModelCall { model: model.to_owned(), input, output, ..ModelCall::default() }
    }

    #[test]
    fn a_call_costs_what_exact_numbers_say_rounded_up_once() {
        let catalog = catalog("");
        let large = |input, output| call("large", input, output);
        for (call, wanted) in [
            (large(1_000, 500), "0.0075"),
            (ModelCall { cached_input: 400, ..large(1_000, 500) }, "0.007"),
            (ModelCall { cache_write: 400, ..large(1_000, 500) }, "0.0075"),
            (ModelCall { audio_input: 100, audio_output: 100, ..large(1_000, 500) }, "0.01825"),
            (ModelCall { reasoning: 200, ..large(1_000, 500) }, "0.0079"),
            (large(200_000, 0), "0.5"),
            (large(200_001, 1), "1.00002"),
            (ModelCall { tier: ServiceTier::Batch, ..large(1_000, 500) }, "0.00375"),
            (large(0, 0), "0"),
            (call("embeds", 1, 0), "0.000000001"),
            (call("embeds", 1_000_001, 0), "0.000000002"),
        ] {
            let priced = catalog.price_of(&call).map(|price| price.amount);
            assert_eq!(priced, Ok(Amount::parse(wanted).expect("an amount")), "{call:?}");
        }
    }

    #[test]
    fn a_call_without_a_price_is_never_silently_free() {
        let wrong = [
            (call("huge", 1, 1), NoPrice::Model),
            (ModelCall { tier: ServiceTier::Priority, ..call("large", 1, 1) }, NoPrice::Tier),
            (call("embeds", 1, 1), NoPrice::Output),
        ];
        for (call, why) in &wrong {
            assert_eq!(catalog("").price_of(call), Err(*why), "{call:?}");
            let allowed = catalog("[model_prices]\nunknown_models = \"allow\"\n").price_of(call);
            assert_eq!(allowed, Ok(CallPrice { amount: LEAST, by: PricedBy::Nobody }), "{call:?}");
        }
        let estimates = "[model_prices]\nunknown_models = \"estimate\"\nestimate_as = \"large\"\n";
        let estimated = catalog(estimates).price_of(&call("huge", 1_000, 500));
        let by = PricedBy::Another("large".to_owned());
        assert_eq!(estimated, Ok(CallPrice { amount: Amount::from_billionths(7_500_000), by }));
        let more_than_all = ModelCall { cached_input: 2, ..call("large", 1, 0) };
        assert_eq!(catalog(estimates).price_of(&more_than_all), Err(NoPrice::Tokens));
        let too_many = call("large", u64::MAX, u64::MAX);
        assert!(
            catalog("").price_of(&too_many).is_ok(),
            "no number of tokens is too much for the arithmetic"
        );
    }

    #[test]
    fn wrong_prices_are_refused() {
        for (more, says) in [
            ("[model_prices]\nunknown_models = \"estimate\"\n", "needs estimate_as"),
            (
                "[model_prices]\nunknown_models = \"estimate\"\nestimate_as = \"huge\"\n",
                "there is no model 'huge'",
            ),
            ("[[models]]\nid = \"large\"\nrates = [{ input = 1 }]\n", "'large' appears twice"),
            ("[[models]]\nid = \"\"\nrates = [{ input = 1 }]\n", "id must be a line"),
            ("[[models]]\nid = \"x\"\nrates = []\n", "needs a rate without tier and above"),
            ("[[models]]\nid = \"x\"\nrates = [{ input = -1 }]\n", "must not be below zero"),
            (
                "[[models]]\nid = \"x\"\nrates = [{ input = 1 }, { input = 2 }]\n",
                "two rates are for standard above 0",
            ),
            ("[[models]]\nid = \"x\"\nrates = [{ inputs = 1 }]\n", "inputs"),
        ] {
            let error = Catalog::from_toml(&format!("{CATALOG}{more}")).expect_err(more);
            assert!(error.0.contains(says), "{more}: {error}");
        }
    }
}
