//! The end of e-mail: whoever has the link of a mail may say that its channel sends no more.
//!
//! Mail programs look at links before people do, so only a `POST` changes something: that of the page's form, or the one
//! that a mail program sends for its reader (RFC 8058), whose body says nothing that the link does not.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use tollgate_api::{Code, Problem};
use tollgate_console::UnsubscribeView;
use tollgate_domain::{Actor, Channel, ChannelChange, ChannelId, ChannelSetup, Target};
use tollgate_notifier::is_of_its_mail;

use super::{page, style_name};
use crate::app::App;
use crate::extract::{NoQuery, path_param};
use crate::native::channels::change;
use crate::reply::Failure;

/// The link of a mail.
pub(crate) struct Link {
    text: String,
    channel: Channel,
}

impl FromRequestParts<App> for Link {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let text: String = path_param(&parts.extensions, "link")?;
        let (id, signature) = text.split_once('.').ok_or_else(no_link)?;
        let channel = app.engine.channel(&ChannelId(id.to_owned())).await?.ok_or_else(no_link)?;
        if !is_of_its_mail(&channel, signature) {
            return Err(no_link());
        }
        Ok(Self { text, channel })
    }
}

fn no_link() -> Failure {
    let detail = "the link is not good, or not any more: its channel leads elsewhere now, or was removed";
    Problem::new(Code::Unauthorized, detail).into()
}

/// Asks whether it is meant.
pub(crate) async fn show(link: Link, _: NoQuery) -> Result<Response, Failure> {
    let done = !link.channel.setup.enabled;
    shown(link, done)
}

/// Has the channel send no more, until somebody who manages it says otherwise.
pub(crate) async fn stop(State(app): State<App>, link: Link, _: NoQuery) -> Result<Response, Failure> {
    let Channel { id, setup, .. } = &link.channel;
    if setup.enabled {
        let setup = ChannelSetup { enabled: false, ..setup.clone() };
        change(&app, &Actor::System, id, ChannelChange::Set(setup)).await?;
    }
    shown(link, true)
}

fn shown(link: Link, done: bool) -> Result<Response, Failure> {
    let Link { text, channel } = link;
    let to = match channel.setup.target {
        Target::Email { to } => to,
        _ => String::new(),
    };
    page(
        StatusCode::OK,
        &UnsubscribeView { style: style_name(), link: text, name: channel.setup.name, to, done },
    )
}
