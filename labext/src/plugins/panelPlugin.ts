/** Adds the side panel, the commands that show it, and what the settings say about new clusters. */
import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { createToolbarFactory, IToolbarWidgetRegistry, setToolbar } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { addIcon, PanelWithToolbar, SidePanel } from '@jupyterlab/ui-components';
import { CommandIds } from '../commandIds';
import { ClusterList } from '../components/clusterList';
import type { IKernelChoice, IStartFormProps } from '../components/startForm';
import { describeArgs } from '../describeArgs';
import { cellspanIcon } from '../icons';
import { readDefaults } from '../settings';
import type { IStartForm } from '../startForm';
import { DOMAIN, ICellspanModel, ICellspanPanel, type Translations } from '../tokens';

const PLUGIN_ID = '@cellspan/labextension:panel';
const TOOLBAR = 'CellspanPanel';
const RANK = 650;

export const panelPlugin: JupyterFrontEndPlugin<ICellspanPanel> = {
  id: PLUGIN_ID,
  description: 'The side panel with all clusters.',
  autoStart: true,
  provides: ICellspanPanel,
  requires: [ICellspanModel],
  optional: [
    ITranslator,
    ILayoutRestorer,
    ISettingRegistry,
    IToolbarWidgetRegistry,
    INotebookTracker
  ],
  activate: (
    app: JupyterFrontEnd,
    model: ICellspanModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    settings: ISettingRegistry | null,
    toolbars: IToolbarWidgetRegistry | null,
    notebooks: INotebookTracker | null
  ): ICellspanPanel => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    let defaults: Partial<IStartForm> = {};
    void settings?.load(PLUGIN_ID).then(loaded => {
      const read = (): void => {
        defaults = readDefaults(loaded.composite);
      };
      read();
      loaded.changed.connect(read);
    });
    const list = new ClusterList({
      model,
      commands: app.commands,
      trans,
      kernels: () => listKernels(app),
      activeKernel: () => getActiveKernel(notebooks),
      defaults: () => defaults
    });
    const { panel, section } = makePanel(list, trans, translator);
    if (settings && toolbars) {
      const factory = createToolbarFactory(
        toolbars,
        settings,
        TOOLBAR,
        PLUGIN_ID,
        translator ?? nullTranslator
      );
      setToolbar(section, factory, section.toolbar);
    }
    app.shell.add(panel, 'left', { rank: RANK, type: 'Clusters' });
    restorer?.add(panel, panel.id);
    addCommands(app, panel, list, trans);
    return list;
  }
};

function makePanel(
  list: ClusterList,
  trans: Translations,
  translator: ITranslator | null
): { panel: SidePanel; section: PanelWithToolbar } {
  const section = new PanelWithToolbar();
  section.title.label = trans.__('Clusters');
  section.addWidget(list);
  section.addClass('cellspan-Section');
  const panel = new SidePanel({ translator: translator ?? nullTranslator });
  panel.id = 'cellspan-panel';
  panel.addClass('cellspan-Panel');
  panel.title.icon = cellspanIcon;
  panel.title.caption = trans.__('Clusters (cellspan)');
  panel.node.setAttribute('role', 'region');
  panel.node.setAttribute('aria-label', trans.__('Clusters'));
  panel.addWidget(section);
  return { panel, section };
}

function addCommands(
  app: JupyterFrontEnd,
  panel: SidePanel,
  list: ClusterList,
  trans: Translations
): void {
  app.commands.addCommand(CommandIds.showPanel, {
    label: trans.__('Show Clusters'),
    caption: trans.__('Show the panel with all clusters'),
    icon: cellspanIcon,
    describedBy: describeArgs({}),
    execute: () => {
      app.shell.activateById(panel.id);
    }
  });
  app.commands.addCommand(CommandIds.newCluster, {
    label: args => (args.isLauncher === true ? trans.__('Cluster') : trans.__('New Cluster…')),
    caption: trans.__('Start a new cluster: opens a small form'),
    icon: args => (args.isLauncher === true ? cellspanIcon : addIcon),
    describedBy: describeArgs({
      isLauncher: { type: 'boolean', description: trans.__('Label it for the launcher') }
    }),
    execute: () => {
      app.shell.activateById(panel.id);
      list.openForm();
    }
  });
}

/** The kernels whose Python can run a cluster. */
function listKernels(app: JupyterFrontEnd): IKernelChoice[] {
  const specs = app.serviceManager.kernelspecs.specs?.kernelspecs ?? {};
  return Object.values(specs)
    .filter(spec => spec !== undefined)
    .filter(spec => spec.language.toLowerCase() === 'python')
    .map(spec => ({ name: spec.name, title: spec.display_name }));
}

function getActiveKernel(notebooks: INotebookTracker | null): IStartFormProps['activeKernel'] {
  const kernel = notebooks?.currentWidget?.sessionContext.session?.kernel;
  return kernel ? { name: kernel.name, id: kernel.id } : null;
}
