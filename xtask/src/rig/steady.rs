//! A client that asks over connections which it keeps, as proxies and load generators do, or over a new one each time.

use anyhow::{Context as _, bail};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a server may take for an answer.
const BOUND: Duration = Duration::from_secs(10);

/// One connection that is kept.
#[derive(Debug)]
pub struct Steady {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    trace: Option<String>,
}

impl Steady {
    /// To this server; it connects with the first question.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, trace: None }
    }

    /// Asks `GET path`, and tells the status. Connects anew if the server closed.
    ///
    /// # Errors
    /// No answer within ten seconds, or none that has a length.
    pub fn ask(&mut self, path: &str) -> anyhow::Result<u16> {
        let kept = self.stream.is_some();
        let answer = self.exchange(path);
        if answer.is_ok() {
            return answer;
        }
        self.stream = None;
        // A server may close a kept connection at any time; a new one it must serve.
        let answer = if kept { self.exchange(path) } else { answer };
        answer.with_context(|| format!("GET http://{}{path}", self.address))
    }

    /// The same within a trace (32 hexadecimal digits), which is told by W3C's header.
    ///
    /// # Errors
    /// As [`Steady::ask`].
    pub fn ask_within(&mut self, trace: &str, path: &str) -> anyhow::Result<u16> {
        self.trace = Some(trace.to_owned());
        let answer = self.ask(path);
        self.trace = None;
        answer
    }

    fn exchange(&mut self, path: &str) -> anyhow::Result<u16> {
        let stream = match self.stream.as_mut() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_read_timeout(Some(BOUND))?;
                self.stream.insert(BufReader::new(stream))
            }
        };
        let trace = self.trace.as_ref().map(|trace| format!("traceparent: 00-{trace}-00000000000000ff-01\r\n"));
        let trace = trace.unwrap_or_default();
        write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: {}\r\n{trace}\r\n", self.address)?;
        let (mut status, mut length, mut line) = (None, None, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("the server closed the connection");
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            } else if let Some((name, value)) = text.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok();
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    bail!("chunks are not read");
                }
            }
        }
        let length: usize = length.context("an answer without a length")?;
        std::io::copy(&mut stream.by_ref().take(length as u64), &mut std::io::sink())?;
        status.context("an answer without a status")
    }

    /// The next question is asked on a new connection.
    pub fn part(&mut self) {
        self.stream = None;
    }
}
