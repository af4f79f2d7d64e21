//! A room on a terminal: messages on the left, people and transfers on the right, the input line at the bottom.
//!
//! The input line has a row of its own that nothing else is ever drawn into; where there is room for one row only, it is
//! the input line. Every text passes [`safe`] before it reaches a cell.

use super::app::{App, judged, mark};
use super::pane::{Kind, Row};
use super::reading::Reading;
use super::sending::Sending;
use super::text::{fitted, safe, width};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use swarm_proto::chat::{Person, Trust};

/// What stands in front of the input.
const PROMPT: &str = "> ";

/// Cells of the right column: a fingerprint, and some room.
const SIDE: u16 = 26;

/// Cells below which there is no right column.
const WIDE: u16 = 64;

/// Cells of a bar.
const BAR: usize = 10;

/// Where everything is.
struct Places {
    title: Rect,
    messages: Rect,
    side: Rect,
    status: Rect,
    input: Rect,
}

fn places(area: Rect) -> Places {
    let [rest, input] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let heights = match rest.height {
        0..=1 => [0, 0],
        2..=3 => [0, 1],
        _ => [1, 1],
    };
    let [title, status] = heights.map(Constraint::Length);
    let [title, middle, status] = Layout::vertical([title, Constraint::Min(0), status]).areas(rest);
    let side = if area.width >= WIDE { SIDE } else { 0 };
    let [messages, side] = Layout::horizontal([Constraint::Min(0), Constraint::Length(side)]).areas(middle);
    Places { title, messages, side, status, input }
}

/// Paints everything.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let places = places(frame.area());
    app.pane.resize(usize::from(places.messages.width.saturating_sub(1)), usize::from(places.messages.height));
    let here = app.people.iter().filter(|person| person.here).count();
    let title = format!(" {} - {here} here", app.title);
    let inverse = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(one_line(&title, places.title)).style(inverse), places.title);
    match app.album.is_open() {
        true => draw_picture(frame, app, places.messages),
        false => draw_messages(frame, app, places.messages),
    }
    draw_side(frame, app, places.side);
    frame.render_widget(Paragraph::new(one_line(&app.status(), places.status)).style(inverse), places.status);
    draw_input(frame, app, places.input);
}

/// A text on one row.
fn one_line(text: &str, place: Rect) -> String {
    fitted(&safe(text), usize::from(place.width))
}

/// Messages sit on the bottom of their pane.
fn draw_messages(frame: &mut Frame<'_>, app: &App, place: Rect) {
    let rows: Vec<Line<'_>> = app.pane.view().into_iter().map(row).collect();
    let height = u16::try_from(rows.len()).unwrap_or(u16::MAX).min(place.height);
    let lower = Rect { y: place.y + (place.height - height), height, ..place };
    frame.render_widget(Paragraph::new(rows), lower);
}

/// A picture lies over the messages. Its place stays empty: the screen paints there behind the text.
fn draw_picture(frame: &mut Frame<'_>, app: &mut App, place: Rect) {
    let [caption, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(place);
    // Nothing touches the column of the people.
    let below = Rect { width: below.width.saturating_sub(1), ..below };
    app.album.set_place(below);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(one_line(&app.album.caption(), caption)).style(bold), caption);
    frame.render_widget(Paragraph::new(one_line(&app.album.instead(), below)), below);
}

fn row(row: Row) -> Line<'static> {
    let (head, text) = match row.kind {
        Kind::Said => (Style::new().fg(Color::Cyan), Style::new()),
        Kind::Earlier => (Style::new().fg(Color::DarkGray), Style::new().fg(Color::DarkGray)),
        Kind::Own => (Style::new().fg(Color::Green), Style::new()),
        Kind::ToMe | Kind::FromMe => (Style::new().fg(Color::Magenta), Style::new().add_modifier(Modifier::BOLD)),
        Kind::Notice => (Style::new().fg(Color::DarkGray), Style::new().fg(Color::DarkGray)),
        Kind::Request => (Style::new().fg(Color::Yellow), Style::new().fg(Color::Yellow)),
        Kind::Alarm => (loud(), loud()),
        Kind::Failure => (Style::new().fg(Color::Red), Style::new().fg(Color::Red)),
    };
    Line::from(vec![Span::styled(row.head, head), Span::styled(row.text, text)])
}

/// What must not be overlooked.
fn loud() -> Style {
    Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD)
}

/// People above, transfers below; half of the column at least for the people.
fn draw_side(frame: &mut Frame<'_>, app: &App, place: Rect) {
    let cells = usize::from(place.width);
    let transfers: Vec<Line<'_>> = app
        .transfers
        .iter()
        .cloned()
        .chain(app.sendings.iter().map(Sending::view))
        .chain(app.requests.readings().iter().map(Reading::view))
        .flat_map(|transfer| {
            let percent = transfer.percent();
            let full = usize::try_from(percent).unwrap_or(0) * BAR / 100;
            let bar = format!("{}{} {percent}% ", "#".repeat(full), "-".repeat(BAR - full));
            let name = fitted(&safe(&transfer.name), cells);
            [Line::from(name), Line::from(fitted(&format!("{bar}{}", safe(&transfer.remark)), cells))]
        })
        .collect();
    let wanted = u16::try_from(transfers.len()).unwrap_or(u16::MAX).min(place.height / 2);
    let [upper, lower] = Layout::vertical([Constraint::Min(0), Constraint::Length(wanted)]).areas(place);
    let mut people: Vec<&Person> = app.people.iter().collect();
    people.sort_by_key(|person| (!person.me, person.trust != Trust::NameConflict, !person.here));
    let rows: Vec<Line<'_>> = people.into_iter().flat_map(|person| in_column(person, cells)).collect();
    frame.render_widget(Paragraph::new(rows), upper);
    frame.render_widget(Paragraph::new(transfers), lower);
}

/// Name and state on one row, the fingerprint below.
fn in_column(person: &Person, cells: usize) -> [Line<'static>; 2] {
    let sign = if person.here { "●" } else { "○" };
    let (state, style) = match person.trust {
        _ if person.me => (" (you)", Style::new().fg(Color::Green)),
        Trust::NameConflict => (" !!", loud()),
        _ if !person.here => (judged(person), Style::new().fg(Color::DarkGray)),
        _ => (judged(person), Style::new()),
    };
    let state = state.replace(", ", " ");
    let name = fitted(&safe(&person.name), cells.saturating_sub(2 + width(&state)));
    let below = match person.trust {
        Trust::NameConflict if !person.me => loud(),
        _ => Style::new().fg(Color::DarkGray),
    };
    [
        Line::styled(fitted(&format!("{sign} {name}{state}"), cells), style),
        Line::styled(fitted(&format!("  {}{}", person.key.fingerprint(), mark(person)), cells), below),
    ]
}

/// The line that is being typed, and the cursor in it.
fn draw_input(frame: &mut Frame<'_>, app: &App, place: Rect) {
    let prompt = fitted(PROMPT, usize::from(place.width / 2));
    let start = width(&prompt);
    let (text, cursor) = app.input.visible(usize::from(place.width).saturating_sub(start));
    let line = Line::from(vec![Span::styled(prompt, Style::new().add_modifier(Modifier::BOLD)), Span::raw(text)]);
    frame.render_widget(Paragraph::new(line), place);
    let column = u16::try_from(start + cursor).unwrap_or(u16::MAX);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}
