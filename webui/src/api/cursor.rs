//! The lists that clients can walk by cursor: an answer names the places of the parts beside it, and a request that sends
//! one of these names goes on from there.
//!
//! A cursor is opaque to clients. It says the order of its list, which way it goes, and the row that it goes on from.

use serde::{Deserialize, Serialize};
use store::read::{Part, RowPlace, Walk};

use super::{
    declare::{
        Param,
        param::{Declared, Page},
        schema,
    },
    query::Query,
};
use crate::error::ApiError;

/// A cursor holds the keys of one row: more is none of ours.
const CURSOR_BYTES_MAX: usize = 8 * 1024;

/// `limit`, `offset` and `cursor`, whatever the field is called. An empty cursor is the first part.
#[derive(Debug, Clone)]
pub struct CursorPage {
    /// How many rows, and after how many when no cursor was sent.
    pub page: Page,
    /// From which row.
    pub walk: Walk,
    order: String,
}

/// What a cursor says.
#[derive(Serialize, Deserialize)]
struct Cursor {
    order: String,
    is_back: bool,
    place: RowPlace,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        if text.len() > CURSOR_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&hex::decode(text).ok()?).ok()
    }

    fn text(&self) -> String {
        hex::encode(serde_json::to_vec(self).expect("texts can be written as JSON"))
    }
}

impl CursorPage {
    /// One that no cursor leads on from.
    #[must_use]
    pub const fn of(page: Page) -> Self {
        Self { page, walk: Walk::Off, order: String::new() }
    }

    /// The cursors of the parts after and before one.
    #[must_use]
    pub fn beside<T>(&self, part: &Part<T>) -> (Option<String>, Option<String>) {
        let cursor =
            |place: &RowPlace, is_back| Cursor { order: self.order.clone(), is_back, place: place.clone() }.text();
        let next = part.next.as_ref().map(|place| cursor(place, false));
        (next, part.previous.as_ref().map(|place| cursor(place, true)))
    }
}

impl Param for CursorPage {
    fn read(query: &mut Query, _: &str) -> Self {
        let page = query.page();
        let order = query.all("order_by").filter(|key| !key.is_empty()).collect::<Vec<_>>().join(",");
        let cursor = query.all("cursor").next().map(str::to_owned);
        let walk = match cursor.as_deref() {
            None => Walk::Off,
            Some("") => Walk::First,
            Some(text) => match Cursor::read(text) {
                Some(cursor) if cursor.order == order && cursor.is_back => Walk::Before(cursor.place),
                Some(cursor) if cursor.order == order => Walk::After(cursor.place),
                Some(_) => {
                    let why = "the cursor is of a list in another order: send the same order_by, or an empty cursor";
                    query.refuse(ApiError::BadRequest(why.to_owned()));
                    Walk::First
                }
                None => {
                    let why = "Invalid cursor: send one that an answer has as next_cursor or previous_cursor, or an empty one";
                    query.refuse(ApiError::BadRequest(why.to_owned()));
                    Walk::First
                }
            },
        };
        Self { page, walk, order }
    }

    fn declare(name: &str) -> Vec<Declared> {
        let mut all = Page::declare(name);
        all.push(Declared::optional("cursor", schema::nullable(schema::text())));
        all
    }
}

#[cfg(test)]
mod tests {
    use store::read::Total;

    use super::*;

    fn read(text: &str) -> (CursorPage, crate::error::ApiResult<()>) {
        let mut query = Query::parse(text);
        let page = CursorPage::read(&mut query, "");
        (page, query.finish())
    }

    #[test]
    fn a_cursor_leads_on_and_back_in_its_own_order_only() {
        let (first, sound) = read("cursor=&order_by=-run_after&limit=2");
        assert!(sound.is_ok() && first.walk == Walk::First && first.page.limit == 2);
        assert_eq!(read("offset=4").0.walk, Walk::Off);
        let place = vec![Some("2026-01-01".to_owned()), None];
        let part = Part::<()> {
            rows: Vec::new(),
            total: Total::Exactly(5),
            next: Some(place.clone()),
            previous: Some(place.clone()),
        };
        let (next, previous) = first.beside(&part);
        let (next, previous) = (next.unwrap(), previous.unwrap());
        let walk = |cursor: &str| read(&format!("cursor={cursor}&order_by=-run_after"));
        assert_eq!(walk(&next).0.walk, Walk::After(place.clone()));
        assert_eq!(walk(&previous).0.walk, Walk::Before(place));
        assert!(walk(&next).1.is_ok());
        for wrong in [format!("cursor={next}"), "cursor=10".to_owned(), "cursor=xyz".to_owned()] {
            assert!(matches!(read(&wrong).1, Err(ApiError::BadRequest(_))), "{wrong}");
        }
    }
}
