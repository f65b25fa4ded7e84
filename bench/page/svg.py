# SPDX-License-Identifier: BSD-2-Clause
"""Bars, lines and dots as SVG text, drawn at the size they are shown at, so
that letters are never scaled. Colours are the page's CSS variables, so that
they follow light and dark. Nothing here knows what is drawn: plots.py does."""
import html
import math

FULL, HALF, THIRD = 1122, 545, 353
LETTER = 6.7        # width of one at 12 px, on the safe side


def text(x, y, s, extra=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{html.escape(s)}</text>'


def width(s):
    return LETTER * len(s)


def wrap(s, w):
    out, line = [], ''
    for word in s.split():
        if line and width(line + ' ' + word) > w:
            out.append(line)
            line = word
        else:
            line = (line + ' ' + word).strip()
    return out + [line] if line else out


def header(title, sub, w):
    """(svg, y of what comes below)"""
    out, y = '', 16
    for line in wrap(title, w * LETTER / 8.2):
        out += text(0, y, line, 'class="t"')
        y += 18
    for line in wrap(sub, w):
        out += text(0, y + 1, line, 'class="d"')
        y += 16
    return out, y + 4


def frame(w, height, title, body):
    return (f'<svg viewBox="0 0 {w} {height:.0f}" role="img">'
            f'<title>{html.escape(title)}</title>{body}</svg>')


def legend(entries, y, w):
    """entries: [(words, colour, dashed)]; (svg, y below)"""
    out, x = '', 0
    for words, colour, dashed in entries:
        need = 26 + width(words) + 14
        if x and x + need > w:
            x, y = 0, y + 18
        dash = ' stroke-dasharray="5 3"' if dashed else ''
        out += (f'<path d="M{x:.0f} {y + 6:.0f}h18" stroke="var(--{colour})" '
                f'stroke-width="4"{dash}/>' + text(x + 24, y + 10, words))
        x += need
    return out, y + 22


class Axis:
    """Values to places; ticks that are round numbers."""

    def __init__(self, values, log, begin, end, most=6):
        values = [v for v in values if v > 0 or not log] or [1]
        self.log, self.begin, self.end = log, begin, end
        lo, hi = min(values), max(values)
        if log:
            if hi / lo < 4:
                lo, hi = lo / 2, hi * 2
            self.lo, self.hi = math.log10(lo), math.log10(hi)
        else:
            self.lo, self.hi = min(lo, 0), hi if hi > min(lo, 0) else 1
        self.most = most

    def at(self, v):
        v = math.log10(max(v, 1e-12)) if self.log else v
        return self.begin + (v - self.lo) / (self.hi - self.lo) * (
            self.end - self.begin)

    def ticks(self):
        if not self.log:
            step = 10 ** math.floor(math.log10(self.hi - self.lo))
            for part in (.1, .2, .25, .5, 1, 2, 5):
                if (self.hi - self.lo) / (step * part) <= self.most:
                    step *= part
                    break
            first = math.ceil(self.lo / step - 1e-9)
            return [k * step for k in range(
                first, int(self.hi / step + 1e-9) + 1)]
        for parts in ((1, 2, 5), (1, 3), (1,)):
            got = [m * 10.0 ** e for e in range(
                math.floor(self.lo), math.ceil(self.hi) + 1) for m in parts
                if self.lo - 1e-9 <= math.log10(m * 10.0 ** e) <=
                self.hi + 1e-9]
            if len(got) <= self.most:
                return got
        return got[::math.ceil(len(got) / self.most)]


def bars(title, sub, groups, form, w=HALF, left=120, log=True):
    """groups: [(words, limit, [(name, value, colour)])]. @limit: what nothing
    can be faster than, or None; the part below it is hatched."""
    out, top = header(title, sub, w)
    every = [v for _, _, rows in groups for _, v, _ in rows if v > 0]
    low = [min(every) / 2.2] if log else [0]
    axis = Axis(every + low, log, left, w - 74, 4 if w < 400 else 6)
    y = top + 8
    marks, values = '', ''
    for words, limit, rows in groups:
        if words:
            out += text(0, y + 12, words, 'class="h"')
            y += 20
        first = y
        for name, v, colour in rows:
            x = axis.at(v) if v > 0 else left
            marks += (f'<rect x="{left}" y="{y:.0f}" width="'
                      f'{max(x - left, 2):.1f}" height="15" rx="2" '
                      f'fill="var(--{colour})"/>')
            out += text(0, y + 12, name)
            values += text(max(x, left) + 6, y + 12, form(v))
            y += 19
        if limit:
            x = axis.at(limit)
            marks += (f'<path d="M{x:.1f} {first - 3:.0f}V{y - 4:.0f}" '
                      'stroke="var(--ink)" stroke-width="1.6" '
                      'stroke-dasharray="4 3"/>')
        y += 9
    for t in axis.ticks():
        x = axis.at(t)
        out += (f'<path d="M{x:.1f} {top + 4}V{y - 4:.0f}" '
                'stroke="var(--line)"/>' + text(x, y + 12, form(t),
                                                'class="d m"'))
    return frame(w, y + 18, title, out + marks + values)


def stacked(title, sub, groups, keys, form, w=HALF, left=150):
    """groups: [(words, [(name, [value of each key])])], linear; keys:
    [(words, colour)]"""
    out, y = header(title, sub, w)
    more, y = legend([(k, c, False) for k, c in keys], y + 4, w)
    out += more
    top = y
    axis = Axis([sum(v) for _, rows in groups for _, v in rows] + [0], False,
                left, w - 74)
    marks = ''
    for words, rows in groups:
        out += text(0, y + 12, words, 'class="h"')
        y += 20
        for name, values in rows:
            out += text(0, y + 12, name)
            done = 0
            for v, (_, colour) in zip(values, keys):
                x = axis.at(done)
                marks += (f'<rect x="{x:.1f}" y="{y:.0f}" width="'
                          f'{max(axis.at(done + v) - x, 0):.1f}" height="15" '
                          f'fill="var(--{colour})"/>')
                done += v
            marks += text(axis.at(done) + 6, y + 12, form(done))
            y += 19
        y += 9
    for t in axis.ticks():
        x = axis.at(t)
        out += (f'<path d="M{x:.1f} {top}V{y - 4:.0f}" stroke="var(--line)"/>'
                + text(x, y + 12, form(t), 'class="d m"'))
    return frame(w, y + 18, title, out + marks)


def dots(title, sub, rows, keys, form, w=FULL, left=200):
    """rows: [(words, {name: value}, remark)] on one logarithmic axis; keys:
    {name: (words, colour)}"""
    out, y = header(title, sub, w)
    more, y = legend([(k, c, False) for k, c in keys.values()], y + 4, w)
    out += more
    right = 30 + max([width(r) for _, _, r in rows] + [0])
    axis = Axis([v for _, by, _ in rows for v in by.values()], True, left + 10,
                w - right - 10, 9)
    top, marks = y, ''
    for words, by, remark in rows:
        out += text(0, y + 16, words)
        xs = [axis.at(v) for v in by.values()]
        out += (f'<path d="M{min(xs):.1f} {y + 12}H{max(xs):.1f}" '
                'stroke="var(--line)" stroke-width="3"/>')
        for name, v in sorted(by.items(), key=lambda i: i[0] == 'oriel'):
            r = 7 if name == 'oriel' else 5.5
            marks += (f'<circle cx="{axis.at(v):.1f}" cy="{y + 12}" r="{r}" '
                      f'fill="var(--{keys[name][1]})" stroke="var(--paper)">'
                      f'<title>{html.escape(keys[name][0])}: {form(v)}</title>'
                      '</circle>')
        out += text(w - right + 20, y + 16, remark)
        y += 27
    for t in axis.ticks():
        x = axis.at(t)
        out = (f'<path d="M{x:.1f} {top}V{y}" stroke="var(--line)"/>' + out +
               text(x, y + 16, form(t), 'class="d m"'))
    return frame(w, y + 22, title, out + marks)


def plain(v):
    for scale, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if abs(v) >= scale:
            return f'{v / scale:.3g}{unit}'
    return f'{v:.3g}'


def lines(title, sub, series, x, y, w=HALF, h=220, level=None, ends=None):
    """series: [(name, colour, dashed, [(x, y)])]; x, y: (label, form, log,
    ticks or None). @level: a y to draw a line at, with its words; @ends: how
    to write the last value of each series beside it."""
    out, top = header(title, sub, w)
    more, top = legend([s[:3] for s in series], top + 4, w)
    out += more + text(0, top + 8, y[0], 'class="d"')
    top += 20
    bottom = top + h
    xs = [p[0] for s in series for p in s[3]]
    ys = [p[1] for s in series for p in s[3]] + ([level[0]] if level else [])
    ys += y[3] or []
    ay = Axis(ys, y[2], bottom, top, 6)
    marks = y[3] or ay.ticks()
    left = max([width(y[1](t)) for t in marks] + [16]) + 10
    ax = Axis(xs, x[2], left + 8, w - (58 if ends else 22),
              6 if w < 400 else 8)
    if min(xs) == max(xs):
        ax.lo, ax.hi = ax.lo - 1, ax.hi + 1
    out += f'<path d="M{left:.0f} {bottom}H{w}" stroke="var(--dim)"/>'
    for t in marks:
        at = ay.at(t)
        out += (f'<path d="M{left:.0f} {at:.1f}H{w}" stroke="var(--line)"/>' +
                text(left - 6, at + 4, y[1](t), 'class="d e"'))
    for t in [t for t in x[3] or ax.ticks() if min(xs) <= t <= max(xs)]:
        out += text(ax.at(t), bottom + 17, x[1](t), 'class="d m"')
    out += text((left + w) / 2, bottom + 35, x[0], 'class="d m"')
    if level:
        at = ay.at(level[0])
        out += (f'<path d="M{left:.0f} {at:.1f}H{w}" stroke="var(--ink)" '
                'stroke-dasharray="2 3"/>' +
                text(left + 8, at + 15, level[1]))
    for _, colour, dashed, points in series:
        at = [(ax.at(a), ay.at(b)) for a, b in points if b > 0 or not y[2]]
        dash = ' stroke-dasharray="6 4"' if dashed else ''
        if at:
            out += ('<path d="M' + ' L'.join('%.1f %.1f' % p for p in at) +
                    f'" fill="none" stroke="var(--{colour})" '
                    f'stroke-width="2.4" stroke-linejoin="round"{dash}/>')
        if at and ends:
            out += text(at[-1][0] + 8, at[-1][1] + 4, ends(points[-1][1]),
                        'class="h"')
        if len(at) < 12:
            out += ''.join('<circle cx="%.1f" cy="%.1f" r="3" fill="var(--%s)"'
                           '/>' % (*p, colour) for p in at)
    return frame(w, bottom + 42, title, out)
