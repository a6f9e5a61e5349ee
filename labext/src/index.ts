/** Lists the plugins of the lab extension, and holds no logic of its own. */
import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { commandsPlugin } from './plugins/commandsPlugin';
import { modelPlugin } from './plugins/modelPlugin';
import { outputPlugin } from './plugins/outputPlugin';
import { panelPlugin } from './plugins/panelPlugin';
import { launcherPlugin, runningPlugin, statusPlugin } from './plugins/placesPlugins';
import { viewsPlugin } from './plugins/viewsPlugin';

export { ICellspanModel, ICellspanPanel } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  modelPlugin,
  panelPlugin,
  commandsPlugin,
  viewsPlugin,
  outputPlugin,
  statusPlugin,
  runningPlugin,
  launcherPlugin
];

export default plugins;
