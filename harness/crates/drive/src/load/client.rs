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
use crate::load::script::Script;
use crate::load::sse::Stream;
use crate::load::want::{Call, Said};
use crate::load::{Ask, Ending, check};
use leakgate_session::mark;

/// The longest reply accepted, in bytes.
const MAX_BODY: usize = 64 << 20;

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
    /// A client of the server at `endpoint`, not connected yet; a request without an ending after `deadline` is lost.
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
    pub async fn request(&mut self, ask: &Ask, script: &Script) -> Ending {
        let deadline = Instant::now() + self.deadline;
        let ended = timeout_at(deadline, self.exchange(ask, script)).await;
        let ending = ended.unwrap_or_else(|_| Ending::Lost(format!("no ending within {:?}", self.deadline)));
        if matches!(ending, Ending::Lost(_) | Ending::Cancelled) {
            self.close().await;
        }
        ending
    }

    async fn exchange(&mut self, ask: &Ask, script: &Script) -> Ending {
        let response = match self.send(ask, script).await {
            Ok(response) => response,
            Err(what) => return Ending::Lost(what),
        };
        let status = response.status();
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        // Some servers stream whatever they are asked for.
        let may_stream = ask.stream || self.endpoint.strictness == Strictness::Marks;
        if status == StatusCode::OK && may_stream && is_stream {
            return self.follow(response.into_body(), ask, script).await;
        }
        match Limited::new(response.into_body(), MAX_BODY).collect().await {
            Ok(body) => self.whole(status, &body.to_bytes(), ask, script),
            Err(error) => Ending::Lost(format!("the connection ended in the middle of the reply: {error}")),
        }
    }

    /// Sends the request; again on a new connection where the server had closed the old one before it could be sent.
    async fn send(&mut self, ask: &Ask, script: &Script) -> Result<Response<Incoming>, String> {
        let body = body(&self.endpoint, ask, script);
        for last in [false, true] {
            let request = request(&self.endpoint, body.clone())?;
            match self.connected().await?.sender.send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_canceled() && !last => self.close().await,
                Err(error) => return Err(format!("no response: {error}")),
            }
        }
        Err("no response".to_owned())
    }

    async fn connected(&mut self) -> Result<&mut Connection, String> {
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
                let connection = connect(&self.endpoint).await?;
                self.refused = false;
                Ok(slot.insert(connection))
            }
        }
    }

    fn whole(&self, status: StatusCode, body: &Bytes, ask: &Ask, script: &Script) -> Ending {
        if status != StatusCode::OK {
            return Ending::Error(format!("{status}: {}", check::shorten(&String::from_utf8_lossy(body))));
        }
        if self.endpoint.strictness == Strictness::Marks {
            return whole_of_any_kind(body, ask);
        }
        let completion = serde_json::from_slice::<Completion>(body).ok();
        let choice = completion.and_then(|completion| completion.choices.into_iter().next());
        match choice.filter(|choice| choice.message.content.is_some() || choice.message.tool_calls.is_some()) {
            Some(choice) => check::said(&Said::from(choice), ask, script),
            None => Ending::MixedUp(format!("it is no completion: {}", check::shorten(&String::from_utf8_lossy(body)))),
        }
    }

    async fn follow(&self, mut body: Incoming, ask: &Ask, script: &Script) -> Ending {
        let mut stream = Stream::new(self.endpoint.strictness == Strictness::Marks);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                // After an error event nothing more is owed.
                Err(error) if stream.error.is_none() => {
                    return Ending::Lost(format!("the connection ended in the middle of the stream: {error}"));
                }
                Err(_) => break,
            };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            stream.feed(&data);
            if length > MAX_BODY {
                return Ending::MixedUp(format!("it is longer than {MAX_BODY} bytes"));
            }
            if ask.leave_after.is_some_and(|pieces| stream.pieces >= pieces) && !stream.done {
                return Ending::Cancelled;
            }
        }
        stream.end();
        match stream {
            Stream { error: Some(error), .. } => Ending::Error(error),
            stream if !stream.has_ended() => Ending::MixedUp("the stream is cut: it ends without [DONE]".to_owned()),
            Stream { said, reply, .. } => match self.endpoint.strictness {
                Strictness::Exact => check::said(&said, ask, script),
                Strictness::Marks => check::marked(&reply, &ask.mark),
            },
        }
    }
}

/// A whole reply in any form that the API allows. What is no JSON is a reply that was cut; what is JSON and no completion is
/// an error, whatever its status says.
fn whole_of_any_kind(body: &Bytes, ask: &Ask) -> Ending {
    let start = || check::shorten(&String::from_utf8_lossy(body));
    match serde_json::from_slice::<Value>(body) {
        Err(error) => Ending::MixedUp(format!("it is cut, or no JSON ({error}): {}", start())),
        Ok(value) => match Reply::from_completion(&value) {
            Some(reply) => check::marked(&reply, &ask.mark),
            None => Ending::Error(format!("it is no completion: {}", start())),
        },
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Connection, String> {
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

fn body(endpoint: &Endpoint, ask: &Ask, script: &Script) -> Bytes {
    let filler = "filler ".repeat(ask.filler / 7);
    let prompt = script.prompt(ask.number);
    let content = format!("{filler}{prompt}\n{}{}", mark::prompt_tag(&ask.mark), ask.want.word());
    let mut body = serde_json::json!({
        "model": endpoint.model,
        "messages": [{"role": "user", "content": content}],
        "stream": ask.stream,
    });
    ask.want.ask(&mut body);
    Bytes::from(body.to_string())
}

fn request(endpoint: &Endpoint, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
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

impl From<Choice> for Said {
    fn from(Choice { message, finish_reason }: Choice) -> Self {
        let calls = message.tool_calls.into_iter().flatten();
        let calls = calls.map(|ToolCall { id, function: Function { name, arguments } }| Call { id, name, arguments });
        Self { text: message.content.unwrap_or_default(), calls: calls.collect(), finish: finish_reason }
    }
}
