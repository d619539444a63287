//! Asks a running agent.

use crate::failure::Failure;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Where the agent is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Agent {
    /// The agent's address: a URL, or HOST:PORT for HTTP
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9470", value_parser = address)]
    agent: String,
}

/// A URL of the agent as it was meant, without a slash at its end.
fn address(text: &str) -> Result<String, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let wrong = |what: String| format!("{what}; it is http://HOST:PORT or HOST:PORT, as in 127.0.0.1:9470");
    let url = reqwest::Url::parse(&whole).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("{} is not a way to an agent", url.scheme())));
    }
    Ok(whole.trim_end_matches('/').to_owned())
}

impl Agent {
    /// Gets JSON from a path.
    ///
    /// # Errors
    /// The agent is not there, answered with a problem, or with something that is not what was asked for.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::usage(format!("the runtime: {error}")))?;
        runtime.block_on(self.fetch(path))
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let wrong = |what: String| Failure::usage(format!("{}: {what}", self.agent));
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let url = format!("{}{path}", self.agent);
        let response = client.get(&url).send().await.map_err(|error| {
            if error.is_connect() {
                wrong("no agent answers here; start one with `snowshed run`, or name it with --agent URL".to_owned())
            } else {
                wrong(error.to_string())
            }
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| wrong(error.to_string()))?;
        if !status.is_success() {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or("no reason given");
            return Err(wrong(format!("{status}: {detail}")));
        }
        serde_json::from_slice(&body).map_err(|error| wrong(format!("{path}: not an answer of this version: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme_and_a_wrong_one_is_explained() {
        assert_eq!(address("127.0.0.1:9470").as_deref(), Ok("http://127.0.0.1:9470"));
        assert_eq!(address("pod-7:80/").as_deref(), Ok("http://pod-7:80"));
        assert_eq!(address("https://[::1]:9470").as_deref(), Ok("https://[::1]:9470"));
        for wrong in ["", "ftp://here", "127.0.0.1:many", "http://"] {
            assert!(address(wrong).is_err_and(|error| error.contains("HOST:PORT")), "{wrong}");
        }
    }
}
