// What a dashboard of ours may be, put together from the types that Grafana publishes: a panel's `type` decides which
// options it takes, and everything that Grafana does not know is an error.
import type { DataQuery } from '@grafana/schema';
import type { Dashboard as Raw, FieldConfig, FieldConfigSource, Panel as RawPanel } from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as barChart from '@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen';
import type * as barGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has no enums: an enum of words is those words. What is left out, Grafana fills in.
type Json<T> = T extends string
  ? `${T}`
  : T extends Array<infer Item>
    ? Array<Json<Item>>
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T;
type Filled<T> = T extends Array<infer Item> ? Array<Filled<Item>> : T extends object ? { [Key in keyof T]?: Filled<T[Key]> } : T;

// The query of the Prometheus data source has no published type; these are the fields that we write.
interface Query extends Omit<DataQuery, 'datasource'> {
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
}

type PanelOf<Type extends string, Options, Custom> = Omit<Json<RawPanel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options?: Filled<Json<Options>>;
  fieldConfig: Omit<Json<FieldConfigSource>, 'defaults'> & {
    defaults: Omit<Json<FieldConfig>, 'custom'> & { custom?: Filled<Json<Custom>> };
  };
  targets: Query[];
};
type Panel =
  | PanelOf<'barchart', barChart.Options, barChart.FieldConfig>
  | PanelOf<'bargauge', barGauge.Options, never>
  | PanelOf<'stat', stat.Options, never>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeSeries.Options, timeSeries.FieldConfig>;

export type Dashboard = Omit<Json<Raw>, 'panels'> & { panels: Panel[] };
