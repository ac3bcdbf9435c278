//! A call of a language model, priced by the catalog.

use serde::{Deserialize, Serialize};
use tollgate_domain::catalog::{ModelCall, ServiceTier};
use utoipa::ToSchema;

use crate::text::given_word;

/// Most tokens of one kind in a call.
pub const CALL_TOKENS_MAX: u64 = 1_000_000_000_000;

/// A call of a language model, in place of a quantity: it is priced by the catalog's `[[models]]` before it is decided.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// The model, as the catalog names it.
    pub model: String,
    /// How fast the answer is due; `standard` unless given.
    #[serde(default, deserialize_with = "given_word")]
    #[schema(value_type = ServiceTierName, required = false)]
    pub tier: Option<ServiceTierName>,
    /// Tokens of the prompt, all of them.
    #[serde(default)]
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Of those, written to it.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Of those, of sound.
    #[serde(default)]
    pub audio_input_tokens: u64,
    /// Tokens of the answer, all of them: what may come at most, in a hold.
    #[serde(default)]
    pub output_tokens: u64,
    /// Of those, what the model thought with.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// Of those, of sound.
    #[serde(default)]
    pub audio_output_tokens: u64,
}

/// How fast an answer is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTierName {
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

impl CallRequest {
    /// The numbers of tokens, with their names.
    pub fn tokens(&self) -> [(&'static str, u64); 7] {
        [
            ("input_tokens", self.input_tokens),
            ("cached_input_tokens", self.cached_input_tokens),
            ("cache_write_tokens", self.cache_write_tokens),
            ("audio_input_tokens", self.audio_input_tokens),
            ("output_tokens", self.output_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
            ("audio_output_tokens", self.audio_output_tokens),
        ]
    }

    /// The call, as the catalog prices it.
    pub fn call(&self) -> ModelCall {
        ModelCall {
            model: self.model.clone(),
            tier: match self.tier.unwrap_or_default() {
                ServiceTierName::Standard => ServiceTier::Standard,
                ServiceTierName::Batch => ServiceTier::Batch,
                ServiceTierName::Flex => ServiceTier::Flex,
                ServiceTierName::Priority => ServiceTier::Priority,
            },
            input: self.input_tokens,
            cached_input: self.cached_input_tokens,
            cache_write: self.cache_write_tokens,
            audio_input: self.audio_input_tokens,
            output: self.output_tokens,
            reasoning: self.reasoning_tokens,
            audio_output: self.audio_output_tokens,
        }
    }
}
