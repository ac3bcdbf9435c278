//! How services of AWS are asked: who asks, where, over which TLS, and for how long. The same for a table of `DynamoDB`, for a
//! queue of SQS and for a topic of SNS.
//!
//! Deliberately absent: any service. Retries of the SDK are off, for they hide what an attempt may have done, and whoever asks
//! has a plan of its own.
//!
//! Start reading at [`Access::load`].

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub use aws_config::SdkConfig;

/// How a service is asked. What is not said is looked for as AWS's own tools do: in the environment, the profile, a web
/// identity, the machine.
#[derive(Clone, Debug)]
pub struct Access {
    /// In which region.
    pub region: Option<String>,
    /// At which URL, if not at AWS.
    pub endpoint: Option<String>,
    /// How long connecting may take.
    pub connect: Duration,
    /// How long an answer may take, all in all.
    pub answer: Duration,
}

impl Access {
    /// What a client of a service is made of. Nothing is asked of the service yet. There may be no region.
    pub async fn load(&self) -> SdkConfig {
        let http = aws_smithy_http_client::Builder::new();
        let http = http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts =
            TimeoutConfig::builder().connect_timeout(self.connect).operation_timeout(self.answer).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        loader.load().await
    }
}
