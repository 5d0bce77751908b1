//! One connection: connect, authenticate, subscribe, read until it ends.
//!
//! Each step waits for the server's word before the next, all of them together for a bounded time. While trades stream,
//! silence is answered by pings, and a connection that does not answer those is given up. Frames are taken in no faster
//! than the log stores them, so memory is bounded; who is too slow for long is told so by the server.

use super::fault::{AlpacaError, Refusal};
use super::protocol::{self, LiveTrade, Message};
use super::{AlpacaSettings, NAME};
use crate::runtime::service::Worker;
use crate::runtime::{NewRecord, RECORD_BYTES_MAX};
use crate::stock::encoder::TradeEncoder;
use crate::stock::outlet::Outlet;
use bytes::Bytes;
use chrono::Utc;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// The largest frame taken; a burst of all markets' trades is a tenth of it. A larger one costs the connection.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// Records that are sent to the log at once.
const BATCH_RECORDS_MAX: usize = 4_096;
/// So much of a message that is no trade is kept.
const ASIDE_BYTES_MAX: usize = 64 << 10;
const _: () = assert!(ASIDE_BYTES_MAX < RECORD_BYTES_MAX);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Authenticating,
    Subscribing,
    Streaming,
}

impl Stage {
    fn doing(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Authenticating => "authenticating",
            Self::Subscribing => "subscribing",
            Self::Streaming => "streaming",
        }
    }
}

/// How a connection ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The worker is to stop.
    Stopped,
}

/// What the socket gave.
enum Heard {
    Frame(Frame),
    Stop,
}

/// One connection, from its making to its end.
pub(super) struct Session<'a> {
    settings: &'a AlpacaSettings,
    symbols: &'a [String],
    worker: &'a Worker,
    encoder: &'a mut TradeEncoder,
    outlet: &'a mut Outlet,
    host: String,
    stage: Stage,
    deadline: Instant,
    heard_at: Instant,
    pinged_at: Instant,
    subscribed_at: Option<Instant>,
    batch: Vec<NewRecord>,
    aside: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        settings: &'a AlpacaSettings,
        symbols: &'a [String],
        worker: &'a Worker,
        encoder: &'a mut TradeEncoder,
        outlet: &'a mut Outlet,
    ) -> Self {
        let now = Instant::now();
        Self {
            host: settings.url.host_str().unwrap_or_default().to_owned(),
            stage: Stage::Connecting,
            deadline: now + settings.timing.handshake,
            heard_at: now,
            pinged_at: now,
            subscribed_at: None,
            batch: Vec::new(),
            aside: 0,
            settings,
            symbols,
            worker,
            encoder,
            outlet,
        }
    }

    /// When the subscription was confirmed, if ever.
    pub(super) fn subscribed_at(&self) -> Option<Instant> {
        self.subscribed_at
    }

    /// Runs the connection to its end. What it had received then is on its way to the log.
    pub(super) async fn run(&mut self) -> Result<Ended, AlpacaError> {
        let stop = self.worker.stop.clone();
        let socket = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            socket = self.connect() => socket?,
        };
        let ended = self.stream(socket).await;
        self.send().await?;
        ended
    }

    async fn connect(&self) -> Result<Socket, AlpacaError> {
        use_ring();
        let config =
            WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = connect_async_with_config(self.settings.url.as_str(), Some(config), true);
        match timeout_at(self.deadline, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.slow()),
        }
    }

    async fn stream(&mut self, mut socket: Socket) -> Result<Ended, AlpacaError> {
        loop {
            self.worker.meter.turn();
            match self.hear(&mut socket).await? {
                Heard::Stop => break,
                Heard::Frame(frame) => self.take(&mut socket, frame).await?,
            }
            // What has arrived already goes to the log together.
            while self.batch.len() < BATCH_RECORDS_MAX {
                match socket.next().now_or_never() {
                    Some(Some(Ok(frame))) => self.take(&mut socket, frame).await?,
                    Some(Some(Err(error))) => return Err(self.broken(error)),
                    Some(None) => return Err(self.broken(tungstenite::Error::ConnectionClosed)),
                    None => break,
                }
            }
            self.send().await?;
        }
        // The server frees its only place for this account at once when it is told; when it cannot be, it notices later.
        let _ = timeout_at(Instant::now() + self.settings.timing.ping_after, socket.close(None)).await;
        Ok(Ended::Stopped)
    }

    /// The next frame, after pings if need be.
    async fn hear(&mut self, socket: &mut Socket) -> Result<Heard, AlpacaError> {
        let timing = self.settings.timing;
        loop {
            let patience = match self.stage {
                Stage::Streaming => {
                    (self.heard_at.max(self.pinged_at) + timing.ping_after).min(self.heard_at + timing.silence_max)
                }
                Stage::Connecting | Stage::Authenticating | Stage::Subscribing => self.deadline,
            };
            let heard = tokio::select! {
                () = self.worker.stop.cancelled() => return Ok(Heard::Stop),
                heard = timeout_at(patience, socket.next()) => heard,
            };
            match heard {
                Ok(Some(Ok(frame))) => {
                    self.heard_at = Instant::now();
                    return Ok(Heard::Frame(frame));
                }
                Ok(Some(Err(error))) => return Err(self.broken(error)),
                Ok(None) => return Err(self.broken(tungstenite::Error::ConnectionClosed)),
                Err(_) if self.stage != Stage::Streaming => return Err(self.slow()),
                Err(_) => self.ping(socket).await?,
            }
        }
    }

    async fn ping(&mut self, socket: &mut Socket) -> Result<(), AlpacaError> {
        let silence = self.heard_at.elapsed();
        if silence >= self.settings.timing.silence_max {
            return Err(AlpacaError::Silent { host: self.host.clone(), silence });
        }
        self.worker.meter.turn();
        self.pinged_at = Instant::now();
        self.write(socket, Frame::Ping(Bytes::new())).await
    }

    /// Writes a frame; a server that takes nothing for long is as good as silent.
    async fn write(&self, socket: &mut Socket, frame: Frame) -> Result<(), AlpacaError> {
        let silence = self.settings.timing.silence_max;
        match timeout_at(Instant::now() + silence, socket.send(frame)).await {
            Ok(written) => written.map_err(|error| self.broken(error)),
            Err(_) => Err(AlpacaError::Silent { host: self.host.clone(), silence }),
        }
    }

    async fn take(&mut self, socket: &mut Socket, frame: Frame) -> Result<(), AlpacaError> {
        match frame {
            Frame::Text(text) => {
                for message in protocol::messages(&text) {
                    self.understand(socket, message).await?;
                }
            }
            Frame::Binary(bytes) => {
                self.put_aside(&bytes, "the frame is binary, perhaps MessagePack; text was asked for");
            }
            Frame::Close(reason) => {
                let reason = reason.map(|frame| format!(": {} {}", frame.code, frame.reason)).unwrap_or_default();
                return Err(AlpacaError::Closed { host: self.host.clone(), doing: self.stage.doing(), reason });
            }
            // The library answers pings by itself; that something was heard has been noted.
            Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
        }
        Ok(())
    }

    async fn understand(&mut self, socket: &mut Socket, message: Message) -> Result<(), AlpacaError> {
        match (self.stage, message) {
            (Stage::Connecting, Message::Connected) => {
                self.stage = Stage::Authenticating;
                let auth = protocol::auth(&self.settings.key, &self.settings.secret);
                self.write(socket, Frame::text(auth)).await?;
            }
            (Stage::Authenticating, Message::Authenticated) => {
                self.stage = Stage::Subscribing;
                self.write(socket, Frame::text(protocol::subscribe(self.symbols))).await?;
            }
            (Stage::Subscribing, Message::Subscribed(symbols)) => self.subscribed(&symbols)?,
            (_, Message::Error(refusal)) => return Err(AlpacaError::Refused(refusal)),
            (_, Message::Trade(trade)) => self.trade(&trade),
            (_, Message::Aside { text, reason }) => self.put_aside(text.as_bytes(), &reason),
            // Said again, or out of its order: it changes nothing.
            (_, Message::Connected | Message::Authenticated | Message::Subscribed(_)) => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, symbols: &[String]) -> Result<(), AlpacaError> {
        if symbols.is_empty() {
            let message = "the stream confirmed a subscription to no symbol".to_owned();
            return Err(AlpacaError::Refused(Refusal { code: 400, message }));
        }
        let missing: Vec<&str> =
            self.symbols.iter().filter(|wanted| !symbols.contains(wanted)).map(String::as_str).collect();
        if !missing.is_empty() {
            tracing::warn!(symbols = missing.join(","), "Alpaca did not subscribe to these symbols");
        }
        tracing::info!(alpaca.host = self.host, symbols = symbols.join(","), "trades stream from Alpaca");
        self.stage = Stage::Streaming;
        self.subscribed_at = Some(Instant::now());
        self.worker.ready();
        Ok(())
    }

    fn trade(&mut self, trade: &LiveTrade) {
        let details = [("exchange", &trade.exchange), ("conditions", &trade.conditions), ("tape", &trade.tape)];
        let details = details.map(|(name, value)| (name, value.as_bytes()));
        let now_ms = Utc::now().timestamp_millis();
        self.batch.push(self.encoder.live_trade(&trade.as_trade(), NAME, details, now_ms));
    }

    /// Sends a message that is no trade to the topic as it is, for the dead letters.
    fn put_aside(&mut self, text: &[u8], reason: &str) {
        self.aside += 1;
        // Each doubling is logged: a stream of nonsense does not fill the log.
        if self.aside.is_power_of_two() {
            tracing::warn!(
                reason,
                count = self.aside,
                "a message of Alpaca's is not a trade; it becomes a dead letter"
            );
        }
        self.worker.meter.add_dead_letters(1);
        let kept = &text[..text.len().min(ASIDE_BYTES_MAX)];
        self.batch.push(self.encoder.dead_letter(kept, reason, NAME, Utc::now().timestamp_millis()));
    }

    async fn send(&mut self) -> Result<(), AlpacaError> {
        Ok(self.outlet.send(std::mem::take(&mut self.batch)).await?)
    }

    fn broken(&self, error: tungstenite::Error) -> AlpacaError {
        AlpacaError::of(error, &self.host, self.stage.doing())
    }

    fn slow(&self) -> AlpacaError {
        let (doing, within) = (self.stage.doing(), self.settings.timing.handshake);
        AlpacaError::Slow { host: self.host.clone(), doing, within }
    }
}

/// Two cryptographic libraries are linked, so one has to be chosen for TLS before its first use.
fn use_ring() {
    // An error says that the process has chosen already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}
