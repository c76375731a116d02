/* Tables of the class `sortable`: a click on a heading (or Enter) sorts the rows, another turns them
   around. Without this script they are tables like any other. No network, no storage. */
(function () {
  "use strict";

  function textOf(cell) {
    if (!cell) return "";
    var given = cell.getAttribute("data-sort");
    return (given === null ? cell.textContent : given).trim().replace(/\u2212/g, "-");
  }

  function isBlank(text) {
    return text === "" || text === "-" || text === "\u2013" || text === "nan";
  }

  function numberOf(text) {
    var found = /^[<>~\u00d7]?\s*([-+]?(\d[\d,]*)?\.?\d+(e[-+]?\d+)?)/i.exec(text);
    return found ? parseFloat(found[1].replace(/,/g, "")) : NaN;
  }

  function isWords(cell) {
    return cell && !cell.hasAttribute("data-sort") &&
      (cell.tagName === "TH" || cell.classList.contains("text"));
  }

  /* The column of a heading: cells before it may be several columns wide. */
  function columnOf(heading) {
    var column = 0;
    for (var at = heading.previousElementSibling; at; at = at.previousElementSibling) {
      column += at.colSpan;
    }
    return column;
  }

  function cellAt(row, column) {
    for (var number = 0; number < row.cells.length; number++) {
      column -= row.cells[number].colSpan;
      if (column < 0) return row.cells[number];
    }
    return null;
  }

  function compare(a, b, numeric, sign) {
    if (a.blank || b.blank) return a.blank - b.blank || a.at - b.at;
    var order = numeric ? a.number - b.number
      : a.text.localeCompare(b.text, undefined, { numeric: true });
    return sign * order || a.at - b.at;
  }

  function sortRows(rows, column, sign) {
    var keys = rows.map(function (row, at) {
      var cell = cellAt(row, column), text = textOf(cell);
      return { row: row, at: at, text: text, blank: isBlank(text), number: numberOf(text),
               words: isWords(cell) };
    });
    var numeric = keys.every(function (key) {
      return key.blank || (!key.words && !isNaN(key.number));
    });
    keys.sort(function (a, b) { return compare(a, b, numeric, sign); });
    return keys.map(function (key) { return key.row; });
  }

  function isFixed(row) {
    return row.classList.contains("group") || row.classList.contains("bound");
  }

  function sortTable(table, heading) {
    var sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    table.querySelectorAll("[aria-sort]").forEach(function (other) {
      other.removeAttribute("aria-sort");
    });
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    var column = columnOf(heading), body = table.tBodies[0], part = [], sorted = [];
    function endPart() {
      sorted = sorted.concat(sortRows(part, column, sign));
      part = [];
    }
    Array.prototype.forEach.call(body.rows, function (row) {
      if (isFixed(row)) {
        endPart();
        sorted.push(row);
      } else {
        part.push(row);
      }
    });
    endPart();
    sorted.forEach(function (row) { body.appendChild(row); });
  }

  function makeSortable(table) {
    var heads = table.tHead.rows;
    Array.prototype.forEach.call(heads[heads.length - 1].cells, function (heading) {
      if (heading.colSpan > 1) return;
      heading.tabIndex = 0;
      heading.classList.add("sorts");
      heading.title = heading.title || "sort by this column";
      heading.addEventListener("click", function () { sortTable(table, heading); });
      heading.addEventListener("keydown", function (event) {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        sortTable(table, heading);
      });
    });
  }

  function makeFilter(table) {
    var input = document.createElement("input"), count = document.createElement("span");
    var rows = Array.prototype.slice.call(table.tBodies[0].rows);
    input.type = "search";
    input.placeholder = table.getAttribute("data-filter");
    input.setAttribute("aria-label", input.placeholder);
    input.addEventListener("input", function () {
      var wanted = input.value.toLowerCase(), shown = 0;
      rows.forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = wanted ? shown + " of " + rows.length : "";
    });
    var line = document.createElement("p");
    line.className = "filter";
    line.appendChild(input);
    line.appendChild(count);
    table.parentNode.parentNode.insertBefore(line, table.parentNode);
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    if (!table.tHead || !table.tBodies.length) return;
    makeSortable(table);
    if (table.hasAttribute("data-filter")) makeFilter(table);
  });
})();
