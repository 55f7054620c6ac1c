// A text as people type it, taken apart as the gateway does it: needed where a picture comes to the text.
// The same grammar as `babelclip.search.query.parse_query`; a test holds them together.

const MINUS = 0.5;
const SIGNS = "\\-\\u2212\\uff0d";
const QUOTES = { '"': '"', "“": "”", "„": "“", "«": "»", "「": "」" };
const PHRASES = Object.entries(QUOTES).map(([begin, end]) => `${begin}([^${begin}${end}]+)${end}`).join("|");
const SUBTRACTED = new RegExp(
  `(?<!\\S)[${SIGNS}](?:(?:${PHRASES})|([^\\s${SIGNS}${Object.keys(QUOTES).join("")}]\\S*))(?!\\S)`, "gu",
);

/** "beach -people" → what is wanted and each thing that is not, as terms of a search. */
export function parseQuery(text) {
  const avoided = [];
  const wanted = text.replace(SUBTRACTED, (whole, ...groups) => {
    const phrase = groups.slice(0, 6).find((group) => group !== undefined).trim().split(/\s+/u).join(" ");
    if (!phrase) return whole;
    avoided.push(phrase);
    return " ";
  }).trim().split(/\s+/u).join(" ");
  const terms = avoided.map((phrase) => ({ text: phrase, weight: -MINUS }));
  return wanted ? [{ text: wanted, weight: 1 }, ...terms] : terms;
}
