//! Pure: a request of one of OpenAI's APIs becomes an [`ChatRequest`](crate::answer::ChatRequest), and an
//! [`Answer`](crate::answer::Answer) that API's reply, whole or in pieces.

pub mod chat;
mod content;
pub mod models;
mod params;
pub mod responses;
