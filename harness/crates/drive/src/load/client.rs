//! One client: a persistent connection, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::load::endpoint::{Endpoint, Strictness};
use crate::load::reply::Reply;
use crate::load::reply_format::{Call, ExactReply};
use crate::load::script::Script;
use crate::load::sse::Stream;
use crate::load::{ChatRequest, RequestOutcome, check};
use leakgate_session::mark;

/// The longest reply accepted, in bytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A client of a server. Dropping it closes its connection.
#[derive(Debug)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    deadline: Duration,
    connection: Option<Connection>,
    refused: bool,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinSet<()>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

impl Client {
    /// A client of the server at `endpoint`, not connected yet; a request that has not ended after `deadline` is lost.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, deadline: Duration) -> Self {
        Self { endpoint, deadline, connection: None, refused: false }
    }

    /// Whether the server did not let the latest request connect.
    #[must_use]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Closes the connection, if there is one, and waits until it is closed.
    pub async fn close(&mut self) {
        if let Some(Connection { sender, mut driver }) = self.connection.take() {
            drop(sender);
            // The driver ends as soon as it has no sender; one that waits for the server's last bytes is cut off.
            let _ = timeout_at(Instant::now() + Duration::from_millis(200), driver.join_next()).await;
            driver.shutdown().await;
        }
    }

    /// Sends one request and follows its reply to the end.
    pub async fn send_and_judge(&mut self, request: &ChatRequest, script: &Script) -> RequestOutcome {
        let deadline = Instant::now() + self.deadline;
        let ended = timeout_at(deadline, self.exchange(request, script)).await;
        let outcome = ended.unwrap_or_else(|_| RequestOutcome::Lost(format!("no ending within {:?}", self.deadline)));
        if matches!(outcome, RequestOutcome::Lost(_) | RequestOutcome::Cancelled) {
            self.close().await;
        }
        outcome
    }

    async fn exchange(&mut self, request: &ChatRequest, script: &Script) -> RequestOutcome {
        let response = match self.send_with_retry(request, script).await {
            Ok(response) => response,
            Err(what) => return RequestOutcome::Lost(what),
        };
        let status = response.status();
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        // Some servers stream whatever they are asked for.
        let may_stream = request.stream || self.endpoint.strictness == Strictness::Marks;
        if status == StatusCode::OK && may_stream && is_stream {
            return self.judge_stream(response.into_body(), request, script).await;
        }
        match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
            Ok(body) => self.judge_body(status, &body.to_bytes(), request, script),
            Err(error) => RequestOutcome::Lost(format!("the connection ended in the middle of the reply: {error}")),
        }
    }

    /// Sends the request; again on a new connection where the server had closed the old one before it could be sent.
    async fn send_with_retry(&mut self, request: &ChatRequest, script: &Script) -> Result<Response<Incoming>, String> {
        let body = request_body(&self.endpoint, request, script);
        for last in [false, true] {
            let request = build_request(&self.endpoint, body.clone())?;
            match self.ensure_connected().await?.sender.send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_canceled() && !last => self.close().await,
                Err(error) => return Err(format!("no response: {error}")),
            }
        }
        Err("no response".to_owned())
    }

    async fn ensure_connected(&mut self) -> Result<&mut Connection, String> {
        let is_open = match &mut self.connection {
            Some(connection) => connection.sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            slot => {
                self.refused = true;
                let connection = open_connection(&self.endpoint).await?;
                self.refused = false;
                Ok(slot.insert(connection))
            }
        }
    }

    fn judge_body(&self, status: StatusCode, body: &Bytes, request: &ChatRequest, script: &Script) -> RequestOutcome {
        if status != StatusCode::OK {
            return RequestOutcome::Error(format!("{status}: {}", check::excerpt(&String::from_utf8_lossy(body))));
        }
        if self.endpoint.strictness == Strictness::Marks {
            return judge_lenient_body(body, request);
        }
        let completion = serde_json::from_slice::<Completion>(body).ok();
        let choice = completion.and_then(|completion| completion.choices.into_iter().next());
        match choice.filter(|choice| choice.message.content.is_some() || choice.message.tool_calls.is_some()) {
            Some(choice) => check::judge_exact(&ExactReply::from(choice), request, script),
            None => RequestOutcome::MixedUp(format!(
                "it is no completion: {}",
                check::excerpt(&String::from_utf8_lossy(body))
            )),
        }
    }

    async fn judge_stream(&self, mut body: Incoming, request: &ChatRequest, script: &Script) -> RequestOutcome {
        let mut stream = Stream::new(self.endpoint.strictness == Strictness::Marks);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                // After an error event nothing more is owed.
                Err(error) if stream.error.is_none() => {
                    return RequestOutcome::Lost(format!("the connection ended in the middle of the stream: {error}"));
                }
                Err(_) => break,
            };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            stream.feed(&data);
            if length > MAX_BODY_BYTES {
                return RequestOutcome::MixedUp(format!("it is longer than {MAX_BODY_BYTES} bytes"));
            }
            if request.leave_after.is_some_and(|pieces| stream.pieces >= pieces) && !stream.done {
                return RequestOutcome::Cancelled;
            }
        }
        stream.end();
        match stream {
            Stream { error: Some(error), .. } => RequestOutcome::Error(error),
            stream if !stream.has_ended() => {
                RequestOutcome::MixedUp("the stream is cut: it ends without [DONE]".to_owned())
            }
            Stream { said, reply, .. } => match self.endpoint.strictness {
                Strictness::Exact => check::judge_exact(&said, request, script),
                Strictness::Marks => check::judge_marks(&reply, &request.mark),
            },
        }
    }
}

/// A whole reply in any form that the API allows. A body that is not JSON was cut; JSON that is not a completion is
/// an error, whatever its status says.
fn judge_lenient_body(body: &Bytes, request: &ChatRequest) -> RequestOutcome {
    let start = || check::excerpt(&String::from_utf8_lossy(body));
    match serde_json::from_slice::<Value>(body) {
        Err(error) => RequestOutcome::MixedUp(format!("it is cut, or no JSON ({error}): {}", start())),
        Ok(value) => match Reply::from_completion(&value) {
            Some(reply) => check::judge_marks(&reply, &request.mark),
            None => RequestOutcome::Error(format!("it is no completion: {}", start())),
        },
    }
}

async fn open_connection(endpoint: &Endpoint) -> Result<Connection, String> {
    let stream = TcpStream::connect(endpoint.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("cannot connect: {error}"))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("cannot connect: {error}"))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error reaches the request that it belongs to as well.
        let _ = connection.await;
    });
    Ok(Connection { sender, driver })
}

fn request_body(endpoint: &Endpoint, request: &ChatRequest, script: &Script) -> Bytes {
    let filler = "filler ".repeat(request.filler / 7);
    let prompt = script.prompt(request.number);
    let content = format!("{filler}{prompt}\n{}{}", mark::prompt_tag(&request.mark), request.format.mock_directive());
    let mut body = serde_json::json!({
        "model": endpoint.model,
        "messages": [{"role": "user", "content": content}],
        "stream": request.stream,
    });
    request.format.add_to_body(&mut body);
    Bytes::from(body.to_string())
}

fn build_request(endpoint: &Endpoint, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&endpoint.path)
        .header(header::HOST, &endpoint.host)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = &endpoint.key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    request.body(Full::new(body)).map_err(|error| format!("cannot build a request: {error}"))
}

impl From<Choice> for ExactReply {
    fn from(Choice { message, finish_reason }: Choice) -> Self {
        let calls = message.tool_calls.into_iter().flatten();
        let calls = calls.map(|ToolCall { id, function: Function { name, arguments } }| Call { id, name, arguments });
        Self { text: message.content.unwrap_or_default(), calls: calls.collect(), finish: finish_reason }
    }
}
