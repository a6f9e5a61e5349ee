/** The icons of this extension: drawn here, coloured by the theme through JupyterLab's icon classes. */
import { LabIcon } from '@jupyterlab/ui-components';

function draw(body: string, box = 24): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 ${box} ${box}">` +
    `${body}</svg>`
  );
}

/** A notebook's cell that spans three machines. */
export const cellspanIcon = new LabIcon({
  name: 'cellspan:cluster',
  svgstr: draw(
    '<g class="jp-icon3 jp-icon-selectable" fill="#616161">' +
      '<path d="M4 3h16a2 2 0 0 1 2 2v3a2 2 0 0 1-2 2h-7.1v4h-1.8v-4H5.9v4H4.1V9.99H4' +
      'A2 2 0 0 1 2 8V5a2 2 0 0 1 2-2zm14.1 7h1.8v4h-1.8zM4 5v3h16V5z" fill-rule="evenodd"/>' +
      '<rect x="2" y="14" width="6" height="7" rx="1.4"/>' +
      '<rect x="9" y="14" width="6" height="7" rx="1.4"/>' +
      '<rect x="16" y="14" width="6" height="7" rx="1.4"/></g>'
  )
});

/** A plug: put a cluster into a notebook. */
export const attachIcon = new LabIcon({
  name: 'cellspan:attach',
  svgstr: draw(
    '<path class="jp-icon3" fill="#616161" d="M8 2h2v5h4V2h2v5h1.5v4.5A5.5 5.5 0 0 1 13 16.9V22' +
      'h-2v-5.1a5.5 5.5 0 0 1-4.5-5.4V7H8zm.5 7v2.5a3.5 3.5 0 0 0 7 0V9z"/>'
  )
});

/** Rows with bars: one per group. */
export const groupsIcon = new LabIcon({
  name: 'cellspan:groups',
  svgstr: draw(
    '<g class="jp-icon3" fill="#616161"><rect x="3" y="4" width="18" height="4" rx="1"/>' +
      '<rect x="3" y="10" width="12" height="4" rx="1"/>' +
      '<rect x="3" y="16" width="7" height="4" rx="1"/></g>'
  )
});

/** A filled curve over time. */
export const activityIcon = new LabIcon({
  name: 'cellspan:activity',
  svgstr: draw(
    '<path class="jp-icon3" fill="#616161" d="M3 3h2v16h16v2H3zm4 14v-4l4-5 4 4 6-7v12z"/>'
  )
});

/** Lines of text. */
export const logsIcon = new LabIcon({
  name: 'cellspan:logs',
  svgstr: draw(
    '<path class="jp-icon3" fill="#616161" d="M5 2h9l5 5v15H5zm2 2v16h10V8h-4V4zm1.5 6h7v1.6h-7z' +
      'm0 3.2h7v1.6h-7zm0 3.2h4.5V18H8.5z"/>'
  )
});

/** One worker more, one worker less. */
export const scaleIcon = new LabIcon({
  name: 'cellspan:scale',
  svgstr: draw(
    '<path class="jp-icon3" fill="#616161" d="M14 3h7v7h-2V6.4l-5.3 5.3-1.4-1.4L17.6 5H14zM3 14h2' +
      'v3.6l5.3-5.3 1.4 1.4L6.4 19H10v2H3z"/>'
  )
});

/** The icon of a kind of view; a kind that is not known here yet gets the curve. */
export function viewIcon(view: unknown): LabIcon {
  return view === 'groups' ? groupsIcon : activityIcon;
}
