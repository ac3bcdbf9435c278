//! What Portkey's gateway posts of a call: who makes it, how much it may cost, and what its answer says it took.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollgate_api::{CallRequest, Code, HoldId, Problem, ServiceTierName, read_body};
use tollgate_domain::Catalog;
use utoipa::ToSchema;

use crate::reply::Failure;

/// The member of the request that carries the hold of a call from the one hook to the other. The gateway sends to a
/// provider only what it knows of that provider's requests, so nobody else sees it.
pub(super) const HOLD: &str = "tollgate_hold";

/// Bytes of a prompt that count as one token: few texts have more tokens than that.
const BYTES_OF_A_TOKEN: usize = 2;

/// What a picture, a sound or a file in a prompt counts as.
const MEDIA_TOKENS: u64 = 2_000;

/// The kinds of parts of a prompt that are no text.
const MEDIA: [&str; 10] = [
    "audio",
    "document",
    "file",
    "image",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "video",
    "video_url",
];

/// The members of a request that a model reads.
const READ: [&str; 8] =
    ["messages", "prompt", "input", "system", "tools", "functions", "response_format", "output_config"];

/// When the gateway asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = PortkeyEvent)]
pub(super) enum Event {
    /// Before the model is asked.
    #[serde(rename = "beforeRequestHook")]
    Before,
    /// After it has answered.
    #[serde(rename = "afterRequestHook")]
    After,
}

/// What the gateway posts, as far as it is looked at.
#[derive(Deserialize, ToSchema)]
#[schema(as = PortkeyHook)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    /// When it asks.
    event_type: Event,
    /// The request to the model.
    request: HookRequest,
    /// The answer of the model; empty before there is one.
    response: Option<HookResponse>,
    /// Who has the model.
    provider: Option<String>,
    /// What kind of call it is, such as `chatComplete`.
    request_type: Option<String>,
    /// What the client said of the call in `x-portkey-metadata`.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PortkeyHookRequest)]
struct HookRequest {
    /// As the client made it.
    #[schema(value_type = Object)]
    json: Box<RawValue>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PortkeyHookResponse)]
#[serde(rename_all = "camelCase")]
struct HookResponse {
    /// As the gateway answers it; nothing of a stream.
    #[schema(value_type = Object)]
    json: Option<Value>,
    /// Its HTTP status.
    status_code: Option<u16>,
}

/// A call, as it was read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) event: Event,
    /// The request, as it is written.
    pub(super) json: Box<RawValue>,
    /// The hold that it carries.
    pub(super) hold: Option<HoldId>,
    pub(super) model: String,
    pub(super) provider: Option<String>,
    /// Whether the gateway asks nothing after it.
    pub(super) is_embedding: bool,
    /// Whether the model failed.
    pub(super) has_failed: bool,
    tier: Option<ServiceTierName>,
    prompt_tokens: u64,
    /// How many tokens of answer may come; `None` where the request does not say so.
    answer_tokens: Option<u64>,
    /// How many answers.
    answers: u64,
    /// What the answer says it took.
    took: Option<Took>,
    metadata: BTreeMap<String, Value>,
}

/// Tokens that a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Took {
    input: u64,
    cached: u64,
    written: u64,
    audio_input: u64,
    output: u64,
    reasoning: u64,
    audio_output: u64,
}

fn wrong(field: &str, text: &str) -> Failure {
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field).into()
}

impl Call {
    /// Reads what the gateway posts.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let hook: Hook = read_body(body).map_err(|error| {
            let mut problem = Problem::new(error.code, error.detail);
            problem.field = error.field;
            Failure::from(problem)
        })?;
        let request: Map<String, Value> = serde_json::from_str(hook.request.json.get())
            .map_err(|_| wrong("request.json", "must be an object"))?;
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let model = text("model").filter(|model| !model.is_empty()).ok_or_else(|| {
            let detail = "the field 'request.json.model' is missing: a call without a model has no price";
            Failure::from(Problem::new(Code::MissingField, detail).on_field("request.json.model"))
        })?;
        let answer = hook.response.as_ref().and_then(|response| response.json.as_ref());
        let tier = answer.and_then(|answer| tier(answer.get("service_tier")?.as_str()?));
        let status = hook.response.as_ref().and_then(|response| response.status_code);
        let number = |name: &str| request.get(name).and_then(Value::as_u64);
        Ok(Self {
            event: hook.event_type,
            hold: text(HOLD).and_then(|id| id.parse().ok()),
            model: model.to_owned(),
            provider: hook.provider.filter(|provider| !provider.is_empty()),
            is_embedding: hook.request_type.as_deref() == Some("embed"),
            has_failed: status.is_some_and(|status| !(200..300).contains(&status)),
            tier: tier.or_else(|| self::tier(text("service_tier")?)),
            prompt_tokens: READ
                .iter()
                .filter_map(|name| request.get(*name))
                .map(tokens)
                .fold(0, u64::saturating_add),
            answer_tokens: number("max_completion_tokens").or_else(|| number("max_tokens")),
            answers: ["n", "best_of"].into_iter().filter_map(number).fold(1, u64::max),
            took: answer.and_then(|answer| Took::read(answer.get("usage")?)),
            metadata: hook.metadata.unwrap_or_default(),
            json: hook.request.json,
        })
    }

    /// What the metadata says under a key, if it says anything.
    pub(super) fn metadata(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.metadata.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(wrong(&format!("metadata.{key}"), "must be a text")),
        }
    }

    /// The most that the call may take, with so many tokens of answer where it does not say.
    pub(super) fn estimated(&self, catalog: &Catalog, answer_tokens: u32) -> CallRequest {
        let answer = self.answer_tokens.unwrap_or(answer_tokens.into()).saturating_mul(self.answers);
        let output = if self.is_embedding { 0 } else { answer };
        self.call(catalog, Took { input: self.prompt_tokens.max(1), output, ..Took::default() })
    }

    /// What the call took; `None` where its answer does not say.
    pub(super) fn taken(&self, catalog: &Catalog) -> Option<CallRequest> {
        self.took.map(|took| self.call(catalog, took))
    }

    fn call(&self, catalog: &Catalog, took: Took) -> CallRequest {
        CallRequest {
            model: self.priced_model(catalog),
            tier: self.tier,
            input_tokens: took.input,
            cached_input_tokens: took.cached,
            cache_write_tokens: took.written,
            audio_input_tokens: took.audio_input,
            output_tokens: took.output,
            reasoning_tokens: took.reasoning,
            audio_output_tokens: took.audio_output,
        }
    }

    /// The model, as the catalog names it: as the request does, or after its provider, or without the name that Portkey
    /// gives to an account with a provider, as in `@openai-prod/gpt-4o`.
    fn priced_model(&self, catalog: &Catalog) -> String {
        let plain =
            self.model.strip_prefix('@').and_then(|rest| rest.split_once('/')).map(|(_, model)| model);
        let plain = plain.unwrap_or(&self.model);
        let of_provider = self.provider.as_ref().map(|provider| format!("{provider}/{plain}"));
        let names = [Some(self.model.clone()), of_provider, Some(plain.to_owned())];
        let known = names.into_iter().flatten().find(|name| catalog.models.find(name).is_some());
        known.unwrap_or_else(|| self.model.clone())
    }

    /// The request with the hold in it. The last member of a name is the one that counts, whatever a client wrote.
    pub(super) fn carrying(&self, hold: &HoldId) -> Option<Box<RawValue>> {
        let open = self.json.get().trim().strip_suffix('}')?.trim_end();
        let comma = if open.ends_with('{') { "" } else { "," };
        RawValue::from_string(format!("{open}{comma}\"{HOLD}\":\"{hold}\"}}")).ok()
    }
}

/// How fast an answer is due.
fn tier(name: &str) -> Option<ServiceTierName> {
    match name {
        "flex" => Some(ServiceTierName::Flex),
        "priority" => Some(ServiceTierName::Priority),
        "batch" => Some(ServiceTierName::Batch),
        "default" | "standard" => Some(ServiceTierName::Standard),
        _ => None,
    }
}

/// How many tokens a part of a prompt has, rather more than less: nothing here knows how a model cuts its texts.
fn tokens(part: &Value) -> u64 {
    let of_text = |text: &str| u64::try_from(text.len().div_ceil(BYTES_OF_A_TOKEN)).unwrap_or(u64::MAX);
    let sum = |parts: &mut dyn Iterator<Item = u64>| parts.fold(0, u64::saturating_add);
    match part {
        Value::Null => 0,
        // A prompt may be given as tokens.
        Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => of_text(text),
        Value::Array(parts) => sum(&mut parts.iter().map(tokens)),
        Value::Object(members) => {
            if members.get("type").and_then(Value::as_str).is_some_and(|kind| MEDIA.contains(&kind)) {
                return MEDIA_TOKENS;
            }
            sum(&mut members.iter().map(|(name, value)| of_text(name).saturating_add(tokens(value))))
        }
    }
}

impl Took {
    /// Reads `usage`, in OpenAI's words or in Anthropic's.
    fn read(usage: &Value) -> Option<Self> {
        let of = |path: &str| usage.pointer(path).and_then(Value::as_u64);
        let cached = of("/cache_read_input_tokens").or_else(|| of("/prompt_tokens_details/cached_tokens"));
        let cached = cached.unwrap_or(0);
        let mut written = of("/cache_creation_input_tokens").unwrap_or(0);
        let reasoning = of("/completion_tokens_details/reasoning_tokens").unwrap_or(0);
        let (mut input, mut output) = match of("/prompt_tokens") {
            Some(prompt) => (prompt, of("/completion_tokens").unwrap_or(0)),
            // Anthropic counts what its cache had beside the rest of the prompt.
            None => {
                let prompt = of("/input_tokens")?.saturating_add(cached).saturating_add(written);
                (prompt, of("/output_tokens").unwrap_or(0))
            }
        };
        // What the gateway makes of others' answers counts a part beside the whole for some: then the total is more.
        let beside = of("/total_tokens").unwrap_or(0).saturating_sub(input.saturating_add(output));
        if beside > 0 && beside == reasoning {
            output = output.saturating_add(beside);
        } else if beside > 0 {
            input = input.saturating_add(beside);
            written = written.max(beside.saturating_sub(cached));
        }
        // Parts may overlap, and are never more than the whole.
        let cached = cached.min(input);
        let written = written.min(input - cached);
        let audio_input =
            of("/prompt_tokens_details/audio_tokens").unwrap_or(0).min(input - cached - written);
        let reasoning = reasoning.min(output);
        let audio_output = of("/completion_tokens_details/audio_tokens").unwrap_or(0).min(output - reasoning);
        Some(Self { input, cached, written, audio_input, output, reasoning, audio_output })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(request: &Value, more: &Value) -> Call {
        let mut hook = json!({"eventType": "beforeRequestHook", "request": {"json": request}});
        hook.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Call::read(hook.to_string().as_bytes()).expect("a call")
    }

    #[test]
    fn usage_is_read_in_the_words_of_every_provider() {
        let took = |input, cached, written, output, reasoning| Took {
            input,
            cached,
            written,
            output,
            reasoning,
            ..Took::default()
        };
        for (usage, wanted) in [
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
                Some(took(10, 0, 0, 5, 0)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}),
                Some(took(10, 4, 0, 5, 3)),
            ),
            // Anthropic's own words, and what the gateway makes of them with and without its additions.
            (
                json!({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}),
                Some(took(130, 100, 20, 5, 0)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 135,
                    "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}),
                Some(took(130, 100, 20, 5, 0)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 135,
                    "prompt_tokens_details": {"cached_tokens": 100}}),
                Some(took(130, 100, 20, 5, 0)),
            ),
            // Google counts what its models think with beside the answer.
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
                    "completion_tokens_details": {"reasoning_tokens": 7}}),
                Some(took(10, 0, 0, 12, 7)),
            ),
            (
                json!({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}),
                Some(took(3, 3, 0, 1, 0)),
            ),
            (
                json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": u64::MAX}),
                Some(took(u64::MAX, 0, 0, u64::MAX, 0)),
            ),
            (json!({"prompt_tokens": -1}), None),
            (json!({"prompt_tokens": "10"}), None),
            (json!({}), None),
            (Value::Null, None),
        ] {
            assert_eq!(Took::read(&usage), wanted, "{usage}");
        }
    }

    #[test]
    fn a_prompt_is_estimated_and_never_taken_for_less_than_it_may_be() {
        let catalog = Catalog::from_toml(tollgate_domain::catalog::DEFAULT).expect("a catalog");
        for (request, input, output) in [
            (json!({"model": "m", "prompt": "twelve bytes", "max_tokens": 7}), 6, 7),
            (json!({"model": "m", "prompt": [1, 2, 3], "max_tokens": 7, "n": 3}), 3, 21),
            (json!({"model": "m", "prompt": "x", "max_completion_tokens": 9, "max_tokens": 7}), 1, 9),
            (json!({"model": "m", "temperature": 1}), 1, 50),
            (json!({"model": "m", "prompt": "x", "max_tokens": u64::MAX, "n": 9}), 1, u64::MAX),
            (
                json!({"model": "m", "messages": [{"role": "user", "content": [
                    {"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "x".repeat(90_000)}}]}]}),
                // role, user, content, type, text, text, and the text itself
                2 + 2 + 4 + 2 + 2 + 2 + 2 + MEDIA_TOKENS,
                50,
            ),
        ] {
            let estimated = read(&request, &json!({})).estimated(&catalog, 50);
            assert_eq!((estimated.input_tokens, estimated.output_tokens), (input, output), "{request}");
        }
        let embedding = read(&json!({"model": "m", "input": ["ab", "cd"]}), &json!({"requestType": "embed"}));
        assert_eq!(embedding.estimated(&catalog, 50).output_tokens, 0);
    }

    #[test]
    fn the_request_carries_the_hold_whatever_a_client_wrote() {
        let hold: HoldId = "17-acme".parse().expect("an id");
        for (json, wanted) in [
            (r#"{"model":"m"}"#, r#"{"model":"m","tollgate_hold":"17-acme"}"#),
            (
                " {\"tollgate_hold\":\"1-x\", \"model\":\"m\", \"seed\": 12345678901234567890123 }\n",
                r#"{"tollgate_hold":"1-x", "model":"m", "seed": 12345678901234567890123,"tollgate_hold":"17-acme"}"#,
            ),
        ] {
            let body = format!(r#"{{"eventType":"beforeRequestHook","request":{{"json":{json}}}}}"#);
            let call = Call::read(body.as_bytes()).expect("a call");
            let carrying = call.carrying(&hold).expect("JSON");
            assert_eq!(carrying.get(), wanted);
            let again = format!(r#"{{"eventType":"afterRequestHook","request":{{"json":{carrying}}}}}"#);
            assert_eq!(Call::read(again.as_bytes()).expect("a call").hold, Some(hold.clone()));
        }
    }

    #[test]
    fn a_model_is_found_under_the_names_that_tables_of_prices_give_it() {
        let models = |id: &str| {
            let model = format!("[[models]]\nid = \"{id}\"\nrates = [{{ input = 1 }}]\n");
            Catalog::from_toml(&format!("{}\n{model}", tollgate_domain::catalog::DEFAULT)).expect("a catalog")
        };
        for (model, listed, wanted) in [
            ("gpt-4o", "gpt-4o", "gpt-4o"),
            ("gpt-4o", "azure/gpt-4o", "azure/gpt-4o"),
            ("@prod/gpt-4o", "gpt-4o", "gpt-4o"),
            ("@prod/gpt-4o", "azure/gpt-4o", "azure/gpt-4o"),
            ("@prod/gpt-4o", "@prod/gpt-4o", "@prod/gpt-4o"),
            ("@prod/gpt-4o", "other", "@prod/gpt-4o"),
        ] {
            let call = read(&json!({"model": model}), &json!({"provider": "azure"}));
            assert_eq!(call.priced_model(&models(listed)), wanted, "{model} among {listed}");
        }
    }
}
