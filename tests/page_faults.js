// What is wrong with a page, as sentences. tests/test_browser.py runs this in the page: kind is one of the names below.
(kind) => {
  const LEAST_PIXELS = 12, LEAST_CONTRAST = 4.5; // WCAG 2.2, 1.4.3, for the latter
  const SHORT = 10; // letters of a word that is never to be broken
  const GLYPHS = 100; // matplotlib draws letters as outlines in units of a hundredth of the font's size
  const page = document.documentElement;
  const told = (text) => JSON.stringify((text ?? "").trim().replace(/\s+/g, " ").slice(0, 50));
  const style = (element, part) => getComputedStyle(element, part);
  const ancestors = function* (element) { for (let at = element; at; at = at.parentElement) yield at; };
  const hidden = (element) => [...ancestors(element)].some((at) => style(at).clipPath !== "none"); // for the ear alone

  // Pieces of text with the element that they stand in and the rectangles, one for each line, that they fill.
  const texts = () => {
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
      const element = node.parentElement, range = document.createRange();
      if (!node.data.trim() || element.closest("svg, style, script") || hidden(element)) continue;
      range.selectNodeContents(node);
      found.push({ element, node, name: told(node.data), boxes: [...range.getClientRects()] });
    }
    return found;
  };
  const lettering = () => [...document.querySelectorAll('svg g[id*="text_"]')].map((element) => ({
    element, name: `text ${element.id}`, boxes: [element.getBoundingClientRect()], figure: element.closest("svg"),
  }));
  const labels = () => [...document.querySelectorAll("[data-label]")]
    .filter((element) => style(element, "::before").content !== "none")
    .map((element) => ({ element, part: "::before", name: told(element.dataset.label) }));

  const outside = (box, room) => box.left < room.left - 1 || box.right > room.right + 1 ||
    box.top < room.top - 1 || box.bottom > room.bottom + 1;
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;

  const pixels = ({ element, part, figure }) => {
    if (!figure) return parseFloat(style(element, part).fontSize);
    const sizes = [...element.querySelectorAll("use")].map((use) => {
      const { c, d } = use.parentElement.getScreenCTM();
      return GLYPHS * Math.hypot(c, d);
    });
    return Math.max(...sizes);
  };

  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (const at of ancestors(element)) {
      const colour = style(at).backgroundColor, alpha = channels(colour)[3];
      if (alpha === undefined || alpha === 1) return colour;
    }
    return style(page).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches
      ? "rgb(0, 0, 0)" : "rgb(255, 255, 255)";
  };
  const contrast = ({ element, part, figure }) => {
    const front = figure ? style(element.querySelector("use")).fill : style(element, part).color;
    const [high, low] = [luminance(front), luminance(ground(element))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };

  const kinds = {
    sideways: () => (page.scrollWidth > page.clientWidth ? [`${page.scrollWidth} pixels in ${page.clientWidth}`] : []),

    cut: () => {
      const found = [];
      for (const { element, name, boxes } of texts()) {
        for (const at of ancestors(element)) {
          const room = at === page ? { left: 0, right: page.clientWidth, top: -Infinity, bottom: Infinity }
            : style(at).overflow === "visible" ? null : at.getBoundingClientRect();
          if (room && boxes.some((box) => outside(box, room))) found.push(`${name} leaves its ${at.tagName}`);
        }
      }
      for (const { name, boxes, figure } of lettering())
        if (outside(boxes[0], figure.getBoundingClientRect())) found.push(`${name} leaves its figure`);
      for (const at of document.body.querySelectorAll(":not(svg, svg *)"))
        if (at.clientWidth && !hidden(at) && at.scrollWidth > at.clientWidth + 1) found.push(`${told(at.innerText)} spills`);
      for (const at of document.querySelectorAll("svg, img, table"))
        if (at.getBoundingClientRect().right > page.clientWidth + 1) found.push(`${at.tagName} is wider than the page`);
      return found;
    },

    overlapping: () => {
      const pieces = [...texts(), ...lettering()].flatMap(({ name, boxes }) => boxes.map((box) => ({ name, box })));
      pieces.sort((a, b) => a.box.top - b.box.top);
      return pieces.flatMap((one, i) => {
        const found = [];
        for (let j = i + 1; j < pieces.length && pieces[j].box.top < one.box.bottom; j++)
          if (overlap(one.box, pieces[j].box)) found.push(`${one.name} and ${pieces[j].name}`);
        return found;
      });
    },

    torn: () => texts().flatMap(({ node }) => [...node.data.matchAll(/(?<!\S)[^\s-]+(?!\S)/g)]
      .filter(([word]) => word.length <= SHORT)
      .filter(({ 0: word, index }) => {
        const range = document.createRange();
        range.setStart(node, index);
        range.setEnd(node, index + word.length);
        return range.getClientRects().length > 1;
      })
      .map(([word]) => `${told(word)} is on two lines`)),

    // Numbers with their units, as "0.035 ms": short, and of a digit in front.
    parted: () => texts().filter(({ element, node, boxes }) => element.tagName === "TD" && boxes.length > 1 &&
      node.data.length <= SHORT && /^[-+]?\d/.test(node.data)).map(({ name }) => `${name} is on two lines`),

    small: () => [...texts(), ...labels(), ...lettering()].filter((piece) => pixels(piece) < LEAST_PIXELS - 0.01)
      .map((piece) => `${piece.name}: ${pixels(piece).toFixed(1)} pixels`),

    pale: () => [...texts(), ...labels(), ...lettering()].filter((piece) => contrast(piece) < LEAST_CONTRAST)
      .map((piece) => `${piece.name}: ${contrast(piece).toFixed(2)}`),

    unsaid: () => {
      const found = [], all = (wanted, inside = document) => [...inside.querySelectorAll(wanted)];
      const say = (wrong, text) => wrong && found.push(text);
      say(!document.title.trim(), "no title");
      say(page.lang !== "en", `the language is ${told(page.lang)}`);
      say(all("main").length !== 1, `${all("main").length} main parts`);
      const levels = all("h1, h2, h3, h4, h5, h6").map((at) => Number(at.tagName[1]));
      say(levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1, `headings ${levels}`);
      levels.forEach((level, i) => say(i && level > levels[i - 1] + 1, `a heading of level ${level} after ${levels[i - 1]}`));
      for (const at of all("thead :is(th, td)")) say(at.tagName !== "TH" || at.scope !== "col", `head ${told(at.textContent)}`);
      for (const row of all("tbody tr")) {
        const first = row.firstElementChild;
        say(first.tagName !== "TH" || first.scope !== "row", `row ${told(first.textContent)}`);
      }
      for (const at of all("img")) say(!at.alt.trim() || !at.naturalWidth, `image ${told(at.alt)}`);
      for (const at of all("svg")) {
        say(at.getAttribute("role") !== "img" || !at.getAttribute("aria-label")?.trim(), "a figure without words");
        say(at.getBBox().width < 1 || !all("path", at).length, `nothing drawn: ${told(at.getAttribute("aria-label"))}`);
      }
      for (const at of all("figure")) say(!all("figcaption", at).length, "a figure without a caption");
      return found;
    },

    // Of a page with the style of print.
    breaking: () => {
      const found = [];
      for (const at of document.querySelectorAll("h1, h2, h3"))
        if (style(at).breakAfter !== "avoid") found.push(`${told(at.textContent)} may stand last on a sheet`);
      for (const at of document.querySelectorAll("tr, figure"))
        if (style(at).breakInside !== "avoid") found.push(`${at.tagName} ${told(at.textContent)} may be torn`);
      for (const at of document.querySelectorAll("thead"))
        if (style(at).display !== "table-header-group") found.push("the head of a table is not said again");
      return found;
    },
  };
  return kinds[kind]();
}
