/** Opens the panes: views and logs of clusters, restored by cluster and view with the layout. */
import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  IThemeManager,
  MainAreaWidget,
  WidgetTracker
} from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';
import { CommandIds } from '../commandIds';
import { describeArgs } from '../describeArgs';
import { logsIcon, viewIcon } from '../icons';
import { LogsPane } from '../logs/logsPane';
import { clusterArgs, pickCluster } from '../pickCluster';
import { DOMAIN, ICellspanModel, type Translations } from '../tokens';
import { clusterBar } from '../views/clusterBar';
import { ViewPane } from '../views/viewPane';

type Pane<T extends Widget> = MainAreaWidget<T>;

export const viewsPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:views',
  description: 'Diagnostic views and logs of clusters.',
  autoStart: true,
  requires: [ICellspanModel],
  optional: [ITranslator, ILayoutRestorer, IThemeManager, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    model: ICellspanModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    themes: IThemeManager | null,
    palette: ICommandPalette | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const views = addViews(app, model, trans);
    const logs = addLogs(app, model, trans);
    if (restorer) {
      void restorer.restore(views, {
        command: CommandIds.openView,
        args: ({ content }) => ({ cluster: content.cluster, view: content.view }),
        name: ({ content }) => `${content.cluster}:${content.view}`
      });
      void restorer.restore(logs, {
        command: CommandIds.openLogs,
        args: ({ content }) => ({ cluster: content.cluster }),
        name: ({ content }) => content.cluster
      });
    }
    themes?.themeChanged.connect(() => {
      views.forEach(pane => {
        pane.content.repaint();
      });
    });
    addToPalette(model, palette, trans);
  }
};

function addViews(
  app: JupyterFrontEnd,
  model: ICellspanModel,
  trans: Translations
): WidgetTracker<Pane<ViewPane>> {
  const tracker = new WidgetTracker<Pane<ViewPane>>({ namespace: 'cellspan-view' });
  const titleOf = (view: unknown): string =>
    model.views.find(known => known.name === view)?.title ??
    (typeof view === 'string' ? view : trans.__('View'));
  app.commands.addCommand(CommandIds.openView, {
    label: args => trans.__('Open %1 of Cluster', titleOf(args.view)),
    caption: args => trans.__('Open the view %1', titleOf(args.view)),
    icon: args => viewIcon(args.view),
    describedBy: describeArgs(
      { ...clusterArgs(trans), view: { type: 'string', description: trans.__('A view’s name') } },
      ['view']
    ),
    execute: async args => {
      const view = typeof args.view === 'string' ? args.view : 'groups';
      const title = trans.__('Open the view of which cluster?');
      // By name alone where it is given: a layout is restored before the clusters are known.
      const cluster =
        typeof args.cluster === 'string'
          ? args.cluster
          : (await pickCluster(app, model, args, ['running'], title))?.name;
      if (cluster === undefined) {
        return;
      }
      let pane = tracker.find(({ content: c }) => c.cluster === cluster && c.view === view);
      if (!pane) {
        pane = new MainAreaWidget({ content: new ViewPane({ model, cluster, view, trans }) });
        pane.id = `cellspan-view-${cluster}-${view}`;
        pane.title.icon = viewIcon(view);
        setTitle(pane, model, () => `${titleOf(view)} · ${cluster}`);
        show(app, pane, model, cluster, trans);
        await tracker.add(pane);
      }
      app.shell.activateById(pane.id);
    }
  });
  return tracker;
}

function addLogs(
  app: JupyterFrontEnd,
  model: ICellspanModel,
  trans: Translations
): WidgetTracker<Pane<LogsPane>> {
  const tracker = new WidgetTracker<Pane<LogsPane>>({ namespace: 'cellspan-logs' });
  app.commands.addCommand(CommandIds.openLogs, {
    label: trans.__('Open Logs of Cluster'),
    caption: trans.__('Show what its processes and tasks have written'),
    icon: logsIcon,
    describedBy: describeArgs(clusterArgs(trans)),
    execute: async args => {
      const title = trans.__('Open the logs of which cluster?');
      const cluster =
        typeof args.cluster === 'string'
          ? args.cluster
          : (await pickCluster(app, model, args, ['running'], title))?.name;
      if (cluster === undefined) {
        return;
      }
      let pane = tracker.find(({ content }) => content.cluster === cluster);
      if (!pane) {
        pane = new MainAreaWidget({ content: new LogsPane(model, cluster, trans) });
        pane.id = `cellspan-logs-${cluster}`;
        pane.title.icon = logsIcon;
        setTitle(pane, model, () => trans.__('Logs · %1', cluster));
        show(app, pane, model, cluster, trans);
        await tracker.add(pane);
      }
      app.shell.activateById(pane.id);
    }
  });
  return tracker;
}

/** Keep a title right: the titles of views are known only when the server has told them. */
function setTitle(pane: Widget, model: ICellspanModel, title: () => string): void {
  const update = (): void => {
    pane.title.label = title();
    pane.title.caption = title();
  };
  update();
  pane.title.closable = true;
  model.changed.connect(update);
  pane.disposed.connect(() => {
    model.changed.disconnect(update);
  });
}

/** Add a pane below what is there, so that the notebook stays in sight; more panes beside the first. */
function show(
  app: JupyterFrontEnd,
  pane: MainAreaWidget,
  model: ICellspanModel,
  cluster: string,
  trans: Translations
): void {
  pane.toolbar.addItem('cluster', clusterBar(model, cluster, trans));
  const panes = [...app.shell.widgets('main')].filter(widget => widget.id.startsWith('cellspan-'));
  const beside = panes.at(-1);
  app.shell.add(
    pane,
    'main',
    beside ? { ref: beside.id, mode: 'tab-after' } : { mode: 'split-bottom' }
  );
}

/** An entry per kind of view, once they are known. */
function addToPalette(
  model: ICellspanModel,
  palette: ICommandPalette | null,
  trans: Translations
): void {
  const listed = new Set<string>();
  const add = (): void => {
    for (const { name } of model.views) {
      if (!listed.has(name)) {
        listed.add(name);
        palette?.addItem({
          command: CommandIds.openView,
          args: { view: name },
          category: trans.__('Clusters')
        });
      }
    }
  };
  model.changed.connect(add);
  add();
}
