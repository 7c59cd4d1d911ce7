//! Who may ask: the key, or, without one, only programs on this machine that are not a foreign web page.
//!
//! A server without a key listens on loopback only, where the danger is a browser: any page can send requests to
//! 127.0.0.1, under its own name (DNS rebinding) or across origins. Both show in the headers, which a page can't forge.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::{App, Backend};

/// Lets a request through, or refuses it before its body is read.
pub(super) async fn admit<B: Backend>(State(app): State<Arc<App<B>>>, request: Request, next: Next) -> Response {
    let verdict = match app.config.api_key.as_deref() {
        Some(key) if needs_key(request.uri().path()) => check_key(key, request.headers()),
        Some(_) => Ok(()),
        None => check_host(request.uri(), request.headers()).and_then(|()| check_origin(request.headers())),
    };
    match verdict {
        Ok(()) => next.run(request).await,
        Err(error) => refuse(error),
    }
}

fn refuse(error: ApiError) -> Response {
    let mut response = error.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Probes answer without a key, so that whatever supervises the server needs none.
fn needs_key(path: &str) -> bool {
    !matches!(path, "/health" | "/livez" | "/readyz")
}

fn check_key(key: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    // OpenAI's words: clients look for them (LiteLLM takes any other for a bad request).
    let unauthorized = |message: &str| Err(ApiError::invalid(StatusCode::UNAUTHORIZED, "invalid_api_key", message));
    let Some(given) = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())) else {
        return unauthorized("Incorrect API key provided: none. Send `Authorization: Bearer KEY`");
    };
    if bool::from(given.ct_eq(key.as_bytes())) { Ok(()) } else { unauthorized("Incorrect API key provided") }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key.trim_ascii())
}

/// A rebound name arrives in `Host`; an address can't be rebound. A request without `Host` comes from no browser.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let named = headers.get_all(HOST).iter().map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    for authority in named.chain(uri.authority().cloned().map(Some)) {
        if !authority.is_some_and(|authority: Authority| is_localhost(&authority) || address(&authority).is_some()) {
            let message = "requests without a key must name this server by an address or `localhost`";
            return Err(ApiError::invalid(StatusCode::FORBIDDEN, "foreign_host", message));
        }
    }
    Ok(())
}

/// Only browsers send `Origin`.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    for origin in headers.get_all(ORIGIN) {
        let authority = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()?.into_parts().authority);
        let own = authority.is_some_and(|authority| {
            is_localhost(&authority) || address(&authority).is_some_and(|address| address.is_loopback())
        });
        if !own {
            let message = "requests from web pages of other origins need a key: start the server with `--api-key`";
            return Err(ApiError::invalid(StatusCode::FORBIDDEN, "foreign_origin", message));
        }
    }
    Ok(())
}

fn is_localhost(authority: &Authority) -> bool {
    authority.host().eq_ignore_ascii_case("localhost")
}

fn address(authority: &Authority) -> Option<IpAddr> {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}
