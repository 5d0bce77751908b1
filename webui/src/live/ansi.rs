//! Colours of terminals as classes: a line of a log becomes pieces of text, each with the look it was written in.
//!
//! Classes come from the table below alone; whatever else a line holds is text. What moves cursors is left out.

use schemars::JsonSchema;
use serde::Serialize;

/// Pieces of one line; a line that changes its colour more often is not written for people.
const PIECES_MAX: usize = 200;
/// The eight colours, in their order.
const COLOURS: [&str; 8] = ["a-black", "a-red", "a-green", "a-yellow", "a-blue", "a-magenta", "a-cyan", "a-white"];

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Piece {
    /// Its classes; empty for plain text.
    pub class: String,
    /// Its text.
    pub text: String,
}

/// How text looks at some place of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    colour: Option<&'static str>,
    bold: bool,
    faint: bool,
    underlined: bool,
}

impl Look {
    /// Applies the numbers of one `ESC [ … m`. Colours by number or by mix are passed over with their arguments.
    fn apply(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| code.parse::<usize>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                4 => self.underlined = true,
                22 => (self.bold, self.faint) = (false, false),
                24 => self.underlined = false,
                30..=37 => self.colour = Some(COLOURS[code - 30]),
                90..=97 => self.colour = Some(COLOURS[code - 90]),
                39 => self.colour = None,
                38 | 48 => match codes.next() {
                    Some(5) => drop(codes.next()),
                    Some(2) => drop((codes.next(), codes.next(), codes.next())),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn class(self) -> String {
        let words = [
            self.colour,
            self.bold.then_some("a-bold"),
            self.faint.then_some("a-faint"),
            self.underlined.then_some("a-under"),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Cuts a line into pieces.
#[must_use]
pub fn pieces(line: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let mut look = Look::default();
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() != Some('[') {
                    continue;
                }
                let mut codes = String::new();
                // A control sequence ends with its first letter.
                let end = rest.find(|c| {
                    let ends = ('\u{40}'..='\u{7e}').contains(c);
                    if !ends {
                        codes.push(*c);
                    }
                    ends
                });
                if end == Some('m') && found.len() < PIECES_MAX {
                    push(&mut found, look, &mut text);
                    look.apply(&codes);
                }
            }
            '\t' => text.push_str("    "),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    push(&mut found, look, &mut text);
    found
}

fn push(found: &mut Vec<Piece>, look: Look, text: &mut String) {
    if !text.is_empty() {
        found.push(Piece { class: look.class(), text: std::mem::take(text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<(String, String)> {
        pieces(line).into_iter().map(|piece| (piece.class, piece.text)).collect()
    }

    fn piece(class: &str, text: &str) -> (String, String) {
        (class.to_owned(), text.to_owned())
    }

    #[test]
    fn colours_become_classes() {
        let line = "\u{1b}[1;31mred\u{1b}[0m plain \u{1b}[38;5;200;4mline\u{1b}[m\tend\u{7}";
        let expected =
            [piece("a-red a-bold", "red"), piece("", " plain "), piece("a-under", "line"), piece("", "    end")];
        assert_eq!(told(line), expected);
    }

    #[test]
    fn what_is_not_a_colour_is_left_out_and_what_is_text_stays() {
        assert_eq!(told("\u{1b}[2K\u{1b}[1Aup"), [piece("", "up")]);
        assert_eq!(told("\u{1b}[never ends"), [piece("", "ever ends")]);
        assert_eq!(told("<script>\u{1b}[31"), [piece("", "<script>")]);
        // `<`, `"` and `>` are no letters: the sequence ends with the `s`, and is none that sets a colour.
        assert_eq!(told("\u{1b}[31;\"><script>m"), [piece("", "cript>m")]);
    }
}
